// The one text of the index algorithm: one lane is one request, a tile is unroll * L::count of
// them. Included by one thin file per instruction set, each built with its own flags.
//
// Every lane performs the same IEEE operations in the same order whatever the width, and no level
// fuses or reorders them, so that all levels give the same bits. See lanes.h for what else these
// files must not do.
//
// With S the mass not yet finished, F the finished mass and C(x) the cost up to output length x,
// the cost of a request served up to edge k, truncated there, is
//
//   W_k = W_{k-1} + (C(e_k) - C(e_{k-1})) S_{k-1},    C(y) - C(x) = (y-x) (slope + A (y+x)),
//   W_first = (C(e_first) - C(age) + offset) * live mass,
//
// and the index is the least W_k / F_k. Nothing is subtracted but S = total - F, where F is summed
// in the order in which total was: F never exceeds it, and W never falls.
#pragma once

#include "gittins_levels.h"
#include "lanes.h"
#include "sagesched/limits.h"

namespace sagesched {
namespace {

constexpr std::size_t columns_between_tests = 16;

template <class T>
struct Columns {
    const T* data;  // row i of column k is data[k * stride + i]
    std::size_t stride;

    SAGESCHED_DEVICE const T* operator[](std::size_t k) const { return data + k * stride; }
};

// The rows of one tile. Columns [live_from, all_live) are beyond the age of some rows, those from
// all_live on beyond the age of all.
template <class T>
struct TileInput {
    Columns<T> pmf, support;
    const T *age, *slope, *offset;  // [rows]
    std::size_t live_from, all_live;
    std::size_t next_tile;  // distance of the memory to fetch ahead, 0: none
};

template <class L, int unroll, bool own>
struct Support {
    using T = typename L::Scalar;
    using V = typename L::Value;
    const Job<T>& job;
    const Columns<T> columns;

    SAGESCHED_DEVICE V edge(std::size_t k, int u) const {
        if constexpr (own) return L::load(columns[k] + u * L::count);
        return L::splat(job.edge[k]);
    }
    SAGESCHED_DEVICE V edge_before(std::size_t k, int u) const {
        return k > 0 ? edge(k - 1, u) : L::splat(T(0));
    }
    // C(e_k) - C(e_{k-1})
    SAGESCHED_DEVICE V cost(std::size_t k, int u, V slope) const {
        if constexpr (own) {
            const V high = edge(k, u), low = edge_before(k, u);
            return (high - low) * (slope + L::splat(job.half_memory) * (high + low));
        }
        return L::splat(job.step[k]) * (slope + L::splat(job.slope[k]));
    }
};

template <class L, int unroll>
struct Totals {
    typename L::Value live[unroll];        // mass beyond the age
    typename L::Value first_edge[unroll];  // least edge beyond the age
    typename L::Bits largest[unroll];      // as bits, negative numbers and NaN exceed every mass
    typename L::Value flaw[unroll];        // NaN where the row's own support is not increasing
};

// First pass: the live mass, the first live edge, and whether the masses are what they should be.
template <class L, int unroll, bool own>
SAGESCHED_DEVICE Totals<L, unroll> totals_of(const TileInput<typename L::Scalar>& in,
                                             const Support<L, unroll, own>& support) {
    using V = typename L::Value;
    const std::size_t bins = support.job.bins;
    Totals<L, unroll> sum;
    for (int u = 0; u < unroll; ++u) {
        sum.live[u] = sum.flaw[u] = V{};
        sum.largest[u] = typename L::Bits{};
        sum.first_edge[u] = support.edge(in.live_from < bins ? in.live_from : bins - 1, u);
    }
    std::size_t k = 0;
    for (; k < in.live_from; ++k)
        for (int u = 0; u < unroll; ++u)
            sum.largest[u] = larger(sum.largest[u], L::bits(L::load(in.pmf[k] + u * L::count)));
    SAGESCHED_UNROLL_COLUMNS
    for (; k < in.all_live; ++k)
        for (int u = 0; u < unroll; ++u) {
            const V mass = L::load(in.pmf[k] + u * L::count);
            const V edge = support.edge(k, u);
            const V age = L::load(in.age + u * L::count);
            sum.live[u] = L::select(edge > age, sum.live[u] + mass, sum.live[u]);
            sum.largest[u] = larger(sum.largest[u], L::bits(mass));
            if constexpr (own) {
                const V nan = L::splat(typename L::Scalar(__builtin_nan("")));
                const V before = support.edge_before(k, u);
                sum.first_edge[u] = L::select(before > age, sum.first_edge[u], edge);
                sum.flaw[u] = L::select(edge > before, sum.flaw[u], nan);
                const auto sane = edge <= L::splat(typename L::Scalar(max_tokens));
                sum.flaw[u] = L::select(sane, sum.flaw[u], nan);
            } else {
                const V next = support.edge(k + 1 < bins ? k + 1 : k, u);
                sum.first_edge[u] = L::select(edge > age, sum.first_edge[u], next);
            }
        }
    for (; k < bins; ++k)
        for (int u = 0; u < unroll; ++u) {
            const V mass = L::load(in.pmf[k] + u * L::count);
            sum.live[u] = sum.live[u] + mass;
            sum.largest[u] = larger(sum.largest[u], L::bits(mass));
        }
    return sum;
}

// Second pass: the best of the fractions cost / finished.
template <class L, int unroll, bool own, bool want_stop>
struct Search {
    using T = typename L::Scalar;
    using V = typename L::Value;
    const TileInput<T>& in;
    const Support<L, unroll, own>& support;
    V total[unroll], slope[unroll];
    V cost[unroll], finished[unroll];
    V best_cost[unroll], best_finished[unroll], best_edge[unroll];

    SAGESCHED_DEVICE Search(const TileInput<T>& input, const Support<L, unroll, own>& edges,
                            const Totals<L, unroll>& sum)
        : in(input), support(edges) {
        for (int u = 0; u < unroll; ++u) {
            const V age = L::load(in.age + u * L::count), first = sum.first_edge[u];
            total[u] = sum.live[u];
            slope[u] = L::load(in.slope + u * L::count);
            const V bend = L::splat(support.job.half_memory) * (first + age);
            const V to_first = (first - age) * (slope[u] + bend);
            cost[u] = (to_first + L::load(in.offset + u * L::count)) * total[u];
            finished[u] = best_finished[u] = best_edge[u] = V{};
            best_cost[u] = L::splat(T(1));
        }
    }

    SAGESCHED_DEVICE V later_cost(std::size_t k, int u) const {
        return cost[u] + support.cost(k, u, slope[u]) * (total[u] - finished[u]);
    }

    // Fractions are compared crosswise; before the first mass 0/0 loses against 1/0.
    SAGESCHED_DEVICE void keep_better(std::size_t k, int u) {
        const auto better = cost[u] * best_finished[u] < best_cost[u] * finished[u];
        best_cost[u] = L::select(better, cost[u], best_cost[u]);
        best_finished[u] = L::select(better, finished[u], best_finished[u]);
        if constexpr (want_stop) best_edge[u] = L::select(better, support.edge(k, u), best_edge[u]);
    }

    SAGESCHED_DEVICE void column_of_some(std::size_t k) {
        for (int u = 0; u < unroll; ++u) {
            const V mass = L::load(in.pmf[k] + u * L::count);
            const V age = L::load(in.age + u * L::count);
            const V more = later_cost(k, u);
            cost[u] = L::select(support.edge_before(k, u) > age, more, cost[u]);
            finished[u] = L::select(support.edge(k, u) > age, finished[u] + mass, finished[u]);
            keep_better(k, u);
            SAGESCHED_PREFETCH(in.pmf[k] + u * L::count + in.next_tile);
        }
    }

    SAGESCHED_DEVICE void column_of_all(std::size_t k) {
        for (int u = 0; u < unroll; ++u) {
            const V mass = L::load(in.pmf[k] + u * L::count);
            cost[u] = later_cost(k, u);
            finished[u] = finished[u] + mass;
            keep_better(k, u);
            SAGESCHED_PREFETCH(in.pmf[k] + u * L::count + in.next_tile);
        }
    }

    // cost only grows and finished never exceeds total, in floating point too: once
    // cost / total >= best in every lane, no later column can win, and skipping them changes no
    // bit.
    SAGESCHED_DEVICE bool undecided() const {
        auto open = cost[0] * best_finished[0] < best_cost[0] * total[0];
        for (int u = 1; u < unroll; ++u)
            open = open | (cost[u] * best_finished[u] < best_cost[u] * total[u]);
        return L::any(open);
    }

    SAGESCHED_DEVICE void run() {
        const std::size_t bins = support.job.bins;
        // One column beyond all_live: what lies before it may be before a row's age.
        const std::size_t mixed = in.all_live < bins ? in.all_live + 1 : bins;
        std::size_t k = in.live_from;
        SAGESCHED_UNROLL_COLUMNS
        for (; k < mixed; ++k) column_of_some(k);
        while (k < bins && undecided()) {
            const std::size_t end =
                k + columns_between_tests < bins ? k + columns_between_tests : bins;
            for (; k < end; ++k) column_of_all(k);
        }
    }
};

// Below this cost times mass the products of the search could leave the range of T.
constexpr double least_cost = 0x1p-60;

template <class L, int unroll, bool own, bool want_stop>
SAGESCHED_DEVICE void index_of_tile(const Job<typename L::Scalar>& job,
                                    const TileInput<typename L::Scalar>& in,
                                    typename L::Scalar* out, typename L::Scalar* stop) {
    using T = typename L::Scalar;
    using V = typename L::Value;
    const Support<L, unroll, own> support{job, in.support};
    const Totals<L, unroll> sum = totals_of<L, unroll, own>(in, support);
    Search<L, unroll, own, want_stop> search(in, support, sum);
    V first_cost[unroll];
    for (int u = 0; u < unroll; ++u) first_cost[u] = search.cost[u];
    search.run();
    const V nan = L::splat(T(__builtin_nan("")));
    const auto limit = Lanes<T, 1>::bits(job.mass_limit);
    for (int u = 0; u < unroll; ++u) {
        const V ratio = search.best_cost[u] / search.best_finished[u];
        V index = ratio * L::splat(job.unit_root[0]) * L::splat(job.unit_root[1]);
        index = larger(index, L::splat(least_normal<T>()));
        const auto sound = L::at_most(sum.largest[u], limit);
        const V least_live = L::value(sum.largest[u]) * L::splat(job.live_share);
        index = L::select(first_cost[u] >= L::splat(T(least_cost)), index, nan);
        index = L::select(sum.live[u] >= least_live, index, nan);
        index = L::select(index <= L::splat(largest_finite<T>()), index, nan);
        index = L::select(sound, index, nan);
        if constexpr (own) index = index + sum.flaw[u];
        L::store(out + u * L::count, index);
        if constexpr (want_stop) L::store(stop + u * L::count, search.best_edge[u]);
    }
}

}  // namespace
}  // namespace sagesched
