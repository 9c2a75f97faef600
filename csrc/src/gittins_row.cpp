#include "gittins_row.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sagesched {
namespace {

// min over k >= first of (sum_{i<=k} r_i p_i + r_k (total - F_k)) / F_k. Before the first positive
// mass F is 0 and the candidate inf or NaN: both lose the comparison.
template <class T, class Mass>
IndexAndStop best_ratio(const RemainingCost& cost, const Row<T>& row, std::size_t first,
                        double total, Mass mass) {
    double finished = 0.0, spent = 0.0;
    IndexAndStop best{std::numeric_limits<double>::infinity(), 0.0};
    for (std::size_t k = first; k < row.bins; ++k) {
        const double p = mass(k);
        const double r = cost(row.edge(k));
        finished += p;
        spent += r * p;
        const double candidate = (spent + r * (total - finished)) / finished;
        if (candidate < best.index) best = {candidate, row.edge(k)};
    }
    return best;
}

template <class T>
IndexAndStop continuation_index(const RemainingCost& cost, const Row<T>& row, std::size_t first) {
    if (first == row.bins) return {cost(2.0 * cost.age), 2.0 * cost.age};
    const double start = continuation_survival(cost.age);
    double previous = 1.0;
    return best_ratio(cost, row, first, 1.0, [&](std::size_t k) {
        const double next = k + 1 == row.bins ? 0.0 : continuation_survival(row.edge(k)) / start;
        const double mass = previous - next;
        previous = next;
        return mass;
    });
}

template <class T>
double sum(const Row<T>& row, std::size_t first, std::size_t last) {
    double total = 0.0;
    for (std::size_t k = first; k < last; ++k) total += row.mass(k);
    return total;
}

}  // namespace

double continuation_survival(double edge) {
    const double ratio = 1.0 / std::max(edge, 1.0);
    return ratio * std::sqrt(ratio);  // not pow: sqrt is correctly rounded everywhere
}

RemainingCost::RemainingCost(const CostModel& cost, double age_, double prompt_len,
                             double cached_len)
    : age(age_),
      constant(cost.token + cost.memory * (prompt_len + 0.5 * age_)),
      slope(0.5 * cost.memory),
      offset(cost.prefill * (prompt_len - std::min(cached_len, prompt_len))) {}

template <class T>
IndexAndStop index_of_row(const Row<T>& row, const RemainingCost& cost) {
    std::size_t first = 0;
    while (first < row.bins && row.edge(first) <= cost.age) ++first;
    const double left = sum(row, first, row.bins);
    const double total = sum(row, 0, first) + left;
    const double least = std::max(overrun_share * total, std::numeric_limits<double>::min());
    if (left <= least) return continuation_index(cost, row, first);
    // The ratio does not depend on the scale of the row; a power of two changes no digit of it and
    // keeps cost times mass within range.
    const double scale = std::ldexp(1.0, -std::ilogb(left));
    return best_ratio(cost, row, first, left * scale,
                      [&](std::size_t k) { return row.mass(k) * scale; });
}

template IndexAndStop index_of_row(const Row<float>&, const RemainingCost&);
template IndexAndStop index_of_row(const Row<double>&, const RemainingCost&);

}  // namespace sagesched
