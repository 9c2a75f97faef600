// The one text of the index algorithm. Included by one thin file per instruction set, each built
// with its own flags, hence the anonymous namespace: two bodies of one inline function that differ
// in their flags would be merged by the linker into whichever comes first.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "sagesched/gittins.h"

namespace sagesched {
namespace {

// A row whose mass beyond the age is at most this share of its total has outlived its distribution.
constexpr double overrun_share = 1e-12;

// Tail exponent of the continuation of a row without information left.
//   P(O > x | O > a) = (max(a, 1) / x)^1.5
double continuation_survival(double age, double edge) {
    const double ratio = std::min(std::max(age, 1.0) / edge, 1.0);
    return ratio * std::sqrt(ratio);  // not pow: sqrt is correctly rounded everywhere
}

// Cost from the age to the output length x, as a polynomial in x:
//   token*(x-a) + memory*((x^2-a^2)/2 + I*(x-a)) + prefill*(I-h)
// The factor (x-a) is kept in front, so that the cost stays positive for x just above a.
struct RemainingCost {
    double age, constant, slope, offset;

    RemainingCost(const CostModel& cost, double age_, double prompt_len, double cached_len)
        : age(age_),
          constant(cost.token + cost.memory * (prompt_len + 0.5 * age_)),
          slope(0.5 * cost.memory),
          offset(cost.prefill * (prompt_len - std::min(cached_len, prompt_len))) {}

    double operator()(double edge) const {
        return (edge - age) * (constant + slope * edge) + offset;
    }
};

// min over k of (sum_{i<=k} r_i p_i + r_k (total - F_k)) / F_k. Before the first positive mass F is
// 0 and the candidate inf or NaN: both lose the comparison.
template <class Mass>
double best_ratio(const RemainingCost& cost, const double* edges, std::size_t bins, double total,
                  Mass mass) {
    double finished = 0.0, spent = 0.0;
    double best = std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k < bins; ++k) {
        const double p = mass(k);
        const double r = cost(edges[k]);
        finished += p;
        spent += r * p;
        const double candidate = (spent + r * (total - finished)) / finished;
        if (candidate < best) best = candidate;
    }
    return best;
}

double continuation_index(const RemainingCost& cost, const double* edges, std::size_t bins) {
    if (bins == 0) return cost(2.0 * cost.age);
    double previous = 1.0;
    return best_ratio(cost, edges, bins, 1.0, [&](std::size_t k) {
        const double next = k + 1 == bins ? 0.0 : continuation_survival(cost.age, edges[k]);
        const double mass = previous - next;
        previous = next;
        return mass;
    });
}

template <class T>
double sum(const T* first, const T* last) {
    double total = 0.0;
    for (; first != last; ++first) total += static_cast<double>(*first);
    return total;
}

template <class T>
double index_of_row(const T* pmf, const double* support, std::size_t bins,
                    const RemainingCost& cost) {
    const auto first =
        static_cast<std::size_t>(std::upper_bound(support, support + bins, cost.age) - support);
    const double left = sum(pmf + first, pmf + bins);
    const double total = sum(pmf, pmf + first) + left;
    const double least = std::max(overrun_share * total, std::numeric_limits<double>::min());
    if (left <= least) return continuation_index(cost, support + first, bins - first);
    // The ratio does not depend on the scale of the row; a power of two changes no digit of it and
    // keeps cost times mass within range.
    const double scale = std::ldexp(1.0, -std::ilogb(left));
    const T* row = pmf + first;
    return best_ratio(cost, support + first, bins - first, left * scale,
                      [&](std::size_t k) { return static_cast<double>(row[k]) * scale; });
}

template <class T>
void index_of_batch(const IndexBatch<T>& batch, const CostModel& cost, double* out) {
    for (std::size_t i = 0; i < batch.rows; ++i) {
        const RemainingCost remaining(cost, batch.age[i], batch.prompt_len[i], batch.cached_len[i]);
        const double index =
            index_of_row(batch.pmf + i * batch.bins, batch.support, batch.bins, remaining);
        // A cost model of prefill alone has no cost left on a cached prompt; ln(index) must exist.
        out[i] = std::max(index, std::numeric_limits<double>::min());
    }
}

}  // namespace
}  // namespace sagesched
