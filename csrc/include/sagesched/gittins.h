#pragma once

#include <cstddef>

#include "sagesched/cost_model.h"

namespace sagesched {

// Requests to index, one per row. Borrowed memory: the caller keeps it alive.
//
//   pmf         [rows][bins]  mass of each output length, float or double, need not sum to 1
//   support     [bins]        right edge of each bin in tokens, strictly increasing, > 0
//   age         [rows]        output tokens produced so far
//   prompt_len  [rows]        prompt tokens
//   cached_len  [rows]        prompt tokens in the prefix cache; more than prompt_len counts as all
template <class T>
struct IndexBatch {
    const T* pmf;
    const double* support;
    std::size_t rows;
    std::size_t bins;
    const double* age;
    const double* prompt_len;
    const double* cached_len;
};

// Gittins index of the remaining cost of each row, written to out[rows]. Always finite and > 0.
// The batch and the cost model must have passed the checks of check.h: nothing is checked here.
template <class T>
void gittins_index(const IndexBatch<T>& batch, const CostModel& cost, double* out);

extern template void gittins_index<float>(const IndexBatch<float>&, const CostModel&, double*);
extern template void gittins_index<double>(const IndexBatch<double>&, const CostModel&, double*);

}  // namespace sagesched
