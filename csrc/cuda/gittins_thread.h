// What one thread does: the index of one request, with the kernel and the careful code of the CPU.
//
// The CPU takes its unit of cost from the whole batch. A thread knows its own request only and
// takes the unit from that, so that its result is what the CPU gives for that request alone.
#pragma once

#include "gittins_cuda.h"
#include "gittins_kernel.h"
#include "gittins_row.h"
#include "gittins_units.h"

namespace sagesched {
namespace {

SAGESCHED_DEVICE double token_count(const TokenCounts& counts, std::size_t row) {
    const std::size_t i = row * counts.stride;
    switch (counts.type) {
        case NumberType::float32:
            return static_cast<const float*>(counts.data)[i];
        case NumberType::float64:
            return static_cast<const double*>(counts.data)[i];
        case NumberType::int32:
            return static_cast<const std::int32_t*>(counts.data)[i];
        case NumberType::int64:
            return static_cast<double>(static_cast<const std::int64_t*>(counts.data)[i]);
        case NumberType::constant:
            break;
    }
    return counts.constant;
}

struct Request {
    double age, prompt_len, cached_len;

    SAGESCHED_DEVICE bool is_sound() const {
        return is_token_count(age) && is_token_count(prompt_len) && is_token_count(cached_len);
    }

  private:
    static SAGESCHED_DEVICE bool is_token_count(double value) {
        return value >= 0.0 && value <= max_tokens;
    }
};

// What check.h demands of a row's masses and edges.
template <class T>
SAGESCHED_DEVICE bool is_sound(const Row<T>& row) {
    double mass = 0.0, edge_before = 0.0;
    for (std::size_t k = 0; k < row.bins; ++k) {
        const double edge = row.edge(k);
        if (!(row.mass(k) >= 0.0 && edge > edge_before && edge <= max_tokens)) return false;
        mass += row.mass(k);
        edge_before = edge;
    }
    return mass <= largest_finite<double>();
}

template <class T>
struct Answer {
    T index, stop;
};

template <class T>
SAGESCHED_DEVICE Answer<T> no_answer() {
    return {T(__builtin_nan("")), T(__builtin_nan(""))};
}

template <class T>
SAGESCHED_DEVICE Answer<T> answer_carefully(const Row<T>& row, const CostModel& cost,
                                            const Request& request) {
    if (!is_sound(row)) return no_answer<T>();
    const auto age = static_cast<double>(static_cast<T>(request.age));
    const RemainingCost remaining(cost, age, request.prompt_len, request.cached_len);
    const IndexAndStop best = index_of_row(row, remaining);
    if (best.index > static_cast<double>(largest_finite<T>())) return no_answer<T>();
    return {larger(static_cast<T>(best.index), least_normal<T>()), static_cast<T>(best.stop)};
}

// NaN in `index` where the careful code has to answer.
template <class T, bool want_stop>
SAGESCHED_DEVICE Answer<T> answer_fast(const Row<T>& row, const CostModel& cost,
                                       const Request& request) {
    Job<T> job{};
    job.bins = row.bins;
    set_limits(job);
    set_costs(cost, request.prompt_len, row.edge(row.bins - 1), job);
    Answer<T> answer = no_answer<T>();
    if (!costs_are_exact(job)) return answer;
    const auto age = static_cast<T>(request.age);
    const T slope = slope_of(job, request.prompt_len);
    const T offset = offset_of(job, request.prompt_len, request.cached_len);
    TileInput<T> in{};
    in.pmf = {row.pmf, row.pmf_stride};
    in.support = {row.support, row.support_stride};
    in.age = &age;
    in.slope = &slope;
    in.offset = &offset;
    // Threads of a warp walk the columns together whatever their ages, so that their loads of a
    // column stay neighbours.
    in.live_from = 0;
    in.all_live = row.bins;
    index_of_tile<Lanes<T, 1>, 1, true, want_stop>(job, in, &answer.index, &answer.stop);
    return answer;
}

template <class T, bool want_stop>
SAGESCHED_DEVICE void index_of_request(const DeviceBatch<T>& batch, std::size_t row) {
    const Request request{token_count(batch.age, row), token_count(batch.prompt_len, row),
                          token_count(batch.cached_len, row)};
    const std::size_t own = batch.own_support ? row : 0;
    const Row<T> view{batch.pmf + row, batch.pmf_stride, batch.support + own, batch.support_stride,
                      batch.bins};
    Answer<T> answer = no_answer<T>();
    if (request.is_sound()) {
        answer = answer_fast<T, want_stop>(view, batch.cost, request);
        if (answer.index != answer.index) answer = answer_carefully(view, batch.cost, request);
    }
    batch.out[row] = answer.index;
    if (want_stop) batch.stop[row] = answer.stop;
}

}  // namespace
}  // namespace sagesched
