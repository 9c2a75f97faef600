#pragma once

#include <cstddef>
#include <limits>
#include <stdexcept>

#include "sagesched/cost_model.h"
#include "sagesched/gittins.h"
#include "sagesched/limits.h"

namespace sagesched {

// Each check throws std::invalid_argument that names what is wrong, where, and its value.
void check_cost_model(const CostModel& cost);
void check_support(const double* support, std::size_t bins);
void check_tokens(const char* name, double value);
void check_tokens(const char* name, const double* values, std::size_t count);
template <class T>
void check_pmf(const T* pmf, std::size_t rows, std::size_t bins);

// One row of a matrix, element k at k * stride; `row` is its number for the message, no_row that
// of a support shared by all.
constexpr std::size_t no_row = std::numeric_limits<std::size_t>::max();
template <class T>
void check_pmf_row(const T* masses, std::size_t stride, std::size_t bins, std::size_t row);
template <class T>
void check_support_row(const T* edges, std::size_t stride, std::size_t bins, std::size_t row);

// All of a batch but its matrices, which gittins_index checks as it reads them.
template <class T>
void check_batch(const IndexBatch<T>& batch);

}  // namespace sagesched
