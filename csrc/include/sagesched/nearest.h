#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sagesched {

// Unit (or zero) vectors, row by row, and the same rounded to whole numbers by `code_units`.
struct UnitRows {
    const float* values;
    const std::int16_t* codes;
    std::size_t count, dim;
};

struct Neighbour {
    float cosine;
    std::size_t row;
};

// Scaled to length 1; zero where the vector is zero or not finite.
void scale_to_unit(const double* vector, std::size_t dim, float* unit);

void code_units(const float* values, std::size_t count, std::int16_t* codes);

// The `k` rows (all, if fewer) with the largest inner product with a unit or zero `query[dim]`,
// best first, ties by row number.
//
// Exact: rows whose rounded product cannot reach the k-th best are left out, of the others, hardly
// more than k, the product itself is computed. The rounded rows are half of the bytes to be read.
// One thread; the same result on every machine.
std::vector<Neighbour> nearest(const UnitRows& rows, const float* query, std::size_t k);

}  // namespace sagesched
