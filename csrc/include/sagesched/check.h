#pragma once

#include <cstddef>
#include <stdexcept>

#include "sagesched/cost_model.h"
#include "sagesched/gittins.h"

namespace sagesched {

// Bounds that keep every index finite: costs stay below 1e30 * (2^40)^2, far from overflow.
constexpr double max_tokens = 1099511627776.0;  // 2^40
constexpr double max_coefficient = 1e30;

// Each check throws std::invalid_argument that names what is wrong, where, and its value.
void check_cost_model(const CostModel& cost);
void check_support(const double* support, std::size_t bins);
void check_tokens(const char* name, double value);
void check_tokens(const char* name, const double* values, std::size_t count);
template <class T>
void check_pmf(const T* pmf, std::size_t rows, std::size_t bins);
template <class T>
void check_batch(const IndexBatch<T>& batch);

extern template void check_pmf<float>(const float*, std::size_t, std::size_t);
extern template void check_pmf<double>(const double*, std::size_t, std::size_t);
extern template void check_batch<float>(const IndexBatch<float>&);
extern template void check_batch<double>(const IndexBatch<double>&);

}  // namespace sagesched
