// One row, in double and step by step: for rows that have outlived their distribution and for
// numbers outside the range the kernel is sure of. The same on every level.
#pragma once

#include <cstddef>

#include "sagesched/cost_model.h"

namespace sagesched {

// A row whose mass beyond the age is at most this share of its total has outlived its distribution.
constexpr double overrun_share = 1e-12;

// Survival beyond `edge` of the law that goes on where a row has no information left; only its
// ratios matter: P(O > x | O > a) = (max(a, 1) / max(x, 1))^1.5.
double continuation_survival(double edge);

struct IndexAndStop {
    double index, stop;
};

// Cost from the age to the output length x:
//   token*(x-a) + memory*((x^2-a^2)/2 + I*(x-a)) + prefill*(I-h)
// The factor (x-a) is kept in front, so that the cost stays positive for x just above a.
struct RemainingCost {
    double age, constant, slope, offset;

    RemainingCost(const CostModel& cost, double age, double prompt_len, double cached_len);

    double operator()(double edge) const {
        return (edge - age) * (constant + slope * edge) + offset;
    }
};

// Element k of either array is at k * stride.
template <class T>
struct Row {
    const T* pmf;
    std::size_t pmf_stride;
    const T* support;
    std::size_t support_stride;
    std::size_t bins;

    double mass(std::size_t k) const { return static_cast<double>(pmf[k * pmf_stride]); }
    double edge(std::size_t k) const { return static_cast<double>(support[k * support_stride]); }
};

template <class T>
IndexAndStop index_of_row(const Row<T>& row, const RemainingCost& cost);

}  // namespace sagesched
