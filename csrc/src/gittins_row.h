// One row, in double and step by step: for rows that have outlived their distribution and for
// numbers outside the range the kernel is sure of. The same on every level. The rules of lanes.h
// hold here too.
#pragma once

#include "lanes.h"
#include "sagesched/cost_model.h"

namespace sagesched {
namespace {

// A row whose mass beyond the age is at most this share of its total has outlived its distribution.
constexpr double overrun_share = 1e-12;

// Survival beyond `edge` of the law that goes on where a row has no information left; only its
// ratios matter: P(O > x | O > a) = (max(a, 1) / max(x, 1))^1.5.
SAGESCHED_DEVICE double continuation_survival(double edge) {
    const double ratio = 1.0 / larger(edge, 1.0);
    return ratio * square_root(ratio);  // not pow: square roots are correctly rounded everywhere
}

struct IndexAndStop {
    double index, stop;
};

// Cost from the age to the output length x:
//   token*(x-a) + memory*((x^2-a^2)/2 + I*(x-a)) + prefill*(I-h)
// The factor (x-a) is kept in front, so that the cost stays positive for x just above a.
struct RemainingCost {
    double age, constant, slope, offset;

    SAGESCHED_DEVICE RemainingCost(const CostModel& cost, double age_, double prompt_len,
                                   double cached_len)
        : age(age_),
          constant(cost.token + cost.memory * (prompt_len + 0.5 * age_)),
          slope(0.5 * cost.memory),
          offset(cost.prefill * (prompt_len - smaller(prompt_len, cached_len))) {}

    SAGESCHED_DEVICE double operator()(double edge) const {
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

    SAGESCHED_DEVICE double mass(std::size_t k) const {
        return static_cast<double>(pmf[k * pmf_stride]);
    }
    SAGESCHED_DEVICE double edge(std::size_t k) const {
        return static_cast<double>(support[k * support_stride]);
    }
};

// The largest power of two that is no larger than a positive normal number.
SAGESCHED_DEVICE double power_of_two_in(double value) {
    using Number = Lanes<double, 1>;
    return Number::value(Number::bits(value) & 0x7ff0000000000000u);
}

// min over k >= first of (sum_{i<=k} r_i p_i + r_k (total - F_k)) / F_k. Before the first positive
// mass F is 0 and the candidate inf or NaN: both lose the comparison.
struct BestRatio {
    const double total;
    double finished = 0.0, spent = 0.0;
    IndexAndStop best{__builtin_inf(), 0.0};

    SAGESCHED_DEVICE explicit BestRatio(double total_) : total(total_) {}

    SAGESCHED_DEVICE void add(double edge, double r, double p) {
        finished += p;
        spent += r * p;
        const double candidate = (spent + r * (total - finished)) / finished;
        if (candidate < best.index) best = {candidate, edge};
    }
};

template <class T>
SAGESCHED_DEVICE IndexAndStop continuation_index(const RemainingCost& cost, const Row<T>& row,
                                                 std::size_t first) {
    if (first == row.bins) return {cost(2.0 * cost.age), 2.0 * cost.age};
    const double start = continuation_survival(cost.age);
    double previous = 1.0;
    BestRatio ratio(1.0);
    for (std::size_t k = first; k < row.bins; ++k) {
        const double edge = row.edge(k);
        const double next = k + 1 == row.bins ? 0.0 : continuation_survival(edge) / start;
        ratio.add(edge, cost(edge), previous - next);
        previous = next;
    }
    return ratio.best;
}

template <class T>
SAGESCHED_DEVICE double sum(const Row<T>& row, std::size_t first, std::size_t last) {
    double total = 0.0;
    for (std::size_t k = first; k < last; ++k) total += row.mass(k);
    return total;
}

// The row is sound: finite masses >= 0 with a finite sum.
template <class T>
SAGESCHED_DEVICE IndexAndStop index_of_row(const Row<T>& row, const RemainingCost& cost) {
    std::size_t first = 0;
    while (first < row.bins && row.edge(first) <= cost.age) ++first;
    const double left = sum(row, first, row.bins);
    const double total = sum(row, 0, first) + left;
    if (left <= larger(overrun_share * total, least_normal<double>()))
        return continuation_index(cost, row, first);
    // The ratio does not depend on the scale of the row; a power of two changes no digit of it and
    // keeps cost times mass within range.
    const double scale = 1.0 / power_of_two_in(left);
    BestRatio ratio(left * scale);
    for (std::size_t k = first; k < row.bins; ++k) {
        const double edge = row.edge(k);
        ratio.add(edge, cost(edge), row.mass(k) * scale);
    }
    return ratio.best;
}

}  // namespace
}  // namespace sagesched
