#include "sagesched/gittins.h"

#include <algorithm>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "gittins_levels.h"
#include "gittins_row.h"
#include "gittins_units.h"
#include "reject.h"
#include "sagesched/check.h"

namespace sagesched {
namespace {

constexpr std::size_t cache_line = 64;

// A support shared by all rows, as the kernel wants it.
template <class T>
struct SharedSupport {
    std::vector<T> edge, step, slope;
};

// Rounding to T must not make two edges one.
template <class T>
std::vector<T> rounded_support(const IndexBatch<T>& batch) {
    std::vector<T> edge(batch.support, batch.support + batch.bins);
    check_support_row(edge.data(), 1, batch.bins, no_row);
    return edge;
}

template <class T>
void set_support(const IndexBatch<T>& batch, SharedSupport<T>& shared, Job<T>& job) {
    shared.edge = rounded_support(batch);
    shared.step.resize(batch.bins);
    shared.slope.resize(batch.bins);
    T before = 0;
    for (std::size_t k = 0; k < batch.bins; ++k) {
        const T edge = shared.edge[k];
        shared.step[k] = edge - before;
        shared.slope[k] = job.half_memory * (edge + before);
        before = edge;
    }
    job.edge = shared.edge.data();
    job.step = shared.step.data();
    job.slope = shared.slope.data();
}

// Values that are no edges (refused later, by their row and column) do not count.
template <class T>
double largest_edge(const IndexBatch<T>& batch) {
    if (batch.own_support == nullptr) return batch.support[batch.bins - 1];
    const std::size_t stride = batch.by_column ? 1 : batch.bins;
    const std::size_t last = batch.by_column ? (batch.bins - 1) * batch.rows : batch.bins - 1;
    double largest = 1.0;
    for (std::size_t row = 0; row < batch.rows; ++row) {
        const auto edge = static_cast<double>(batch.own_support[last + row * stride]);
        if (edge > largest && edge <= max_tokens) largest = edge;
    }
    return largest;
}

double largest(const double* values, std::size_t count) {
    double part[4] = {};  // so that one maximum need not wait for the one before
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (std::size_t j = 0; j < 4; ++j) part[j] = std::max(part[j], values[i + j]);
    for (; i < count; ++i) part[0] = std::max(part[0], values[i]);
    return std::max(std::max(part[0], part[1]), std::max(part[2], part[3]));
}

// One row, checked and in double.
template <class T>
void index_carefully(const Job<T>& job, const CostModel& cost, std::size_t row) {
    const std::size_t stride = job.by_column ? job.rows : 1;
    const std::size_t start = job.by_column ? row : row * job.bins;
    Row<T> view{job.pmf + start, stride, job.edge, 1, job.bins};
    if (job.own_support != nullptr) {
        view.support = job.own_support + start;
        view.support_stride = stride;
        check_support_row(view.support, stride, job.bins, row);
    }
    check_pmf_row(view.pmf, stride, job.bins, row);
    const auto age = static_cast<double>(static_cast<T>(job.age[row]));
    const auto best =
        index_of_row(view, RemainingCost(cost, age, job.prompt_len[row], job.cached_len[row]));
    if (best.index > static_cast<double>(std::numeric_limits<T>::max()))
        reject("the index of row ", row, " is ", best.index,
               ", above the largest float32; use float64 masses or smaller cost coefficients");
    // A cost model of prefill alone has no cost left on a cached prompt; ln(index) must exist.
    job.out[row] = std::max(static_cast<T>(best.index), std::numeric_limits<T>::min());
    if (job.stop != nullptr) job.stop[row] = static_cast<T>(best.stop);
}

// Rows by which the tiles are moved so that, where all columns allow it, vectors do not straddle
// cache lines: NumPy's memory begins at 16 bytes beyond one.
template <class T>
std::size_t lead_of(const IndexBatch<T>& batch, std::size_t tile_rows) {
    if (!batch.by_column || batch.rows * sizeof(T) % cache_line != 0) return 0;
    return reinterpret_cast<std::uintptr_t>(batch.pmf) % cache_line / sizeof(T) % tile_rows;
}

template <class T>
bool any_nan(const T* first, const T* last) {
    unsigned found = 0;
    for (; first != last; ++first) found |= *first != *first;
    return found != 0;
}

template <class T>
struct Work {
    const Job<T>& job;
    const CostModel& cost;
    const Kernel<T>& kernel;

    void run_kernel(std::size_t first_tile, std::size_t last_tile) const {
        const std::size_t size = 2 * kernel.tile_rows * job.bins + cache_line / sizeof(T);
        const std::unique_ptr<T[]> memory(new T[size]);
        const auto misaligned = reinterpret_cast<std::uintptr_t>(memory.get()) % cache_line;
        T* const scratch = memory.get() + (cache_line - misaligned) % cache_line / sizeof(T);
        kernel.run(job, first_tile, last_tile, scratch);
    }

    void run(std::size_t first_tile, std::size_t last_tile) const {
        const std::size_t first = first_tile > 0 ? first_tile * kernel.tile_rows - job.lead : 0;
        const std::size_t last = std::min(last_tile * kernel.tile_rows - job.lead, job.rows);
        if (costs_are_exact(job))
            run_kernel(first_tile, last_tile);
        else
            std::fill(job.out + first, job.out + last, std::numeric_limits<T>::quiet_NaN());
        if (!any_nan(job.out + first, job.out + last)) return;
        for (std::size_t row = first; row < last; ++row)
            if (job.out[row] != job.out[row]) index_carefully(job, cost, row);
    }
};

// Parts in the order of rows, each by its own thread: the first error is that of the first bad row.
template <class T>
void run_in_threads(const Work<T>& work, std::size_t tiles, std::size_t threads) {
    std::vector<std::exception_ptr> errors(threads);
    std::vector<std::thread> others;
    const auto part = [&](std::size_t i) {
        try {
            work.run(tiles * i / threads, tiles * (i + 1) / threads);
        } catch (...) {
            errors[i] = std::current_exception();
        }
    };
    others.reserve(threads - 1);
    try {
        for (std::size_t i = 1; i < threads; ++i) others.emplace_back(part, i);
    } catch (...) {
        // No more threads to be had: this one does what is left.
        for (std::size_t i = others.size() + 1; i < threads; ++i) part(i);
    }
    part(0);
    for (std::thread& other : others) other.join();
    for (const std::exception_ptr& error : errors)
        if (error) std::rethrow_exception(error);
}

}  // namespace

template <class T>
void gittins_index(const IndexBatch<T>& batch, const CostModel& cost, T* out, T* stop,
                   std::size_t threads) {
    check_cost_model(cost);
    check_batch(batch);
    if (threads == 0) throw std::invalid_argument("threads is 0; it must be at least 1");
    if (batch.rows == 0) return;
    Job<T> job{};
    job.rows = batch.rows;
    job.bins = batch.bins;
    job.pmf = batch.pmf;
    job.own_support = batch.own_support;
    job.by_column = batch.by_column;
    job.age = batch.age;
    job.prompt_len = batch.prompt_len;
    job.cached_len = batch.cached_len;
    job.out = out;
    job.stop = stop;
    set_limits(job);
    set_costs(cost, largest(batch.prompt_len, batch.rows), largest_edge(batch), job);
    SharedSupport<T> shared;
    if (batch.own_support == nullptr) set_support(batch, shared, job);
    const Kernel<T>& kernel = kernel_of(active_level(), T());
    job.lead = lead_of(batch, kernel.tile_rows);
    const Work<T> work{job, cost, kernel};
    const std::size_t tiles = (batch.rows + job.lead - 1) / kernel.tile_rows + 1;
    run_in_threads(work, tiles, std::min(threads, tiles));
}

template void gittins_index(const IndexBatch<float>&, const CostModel&, float*, float*,
                            std::size_t);
template void gittins_index(const IndexBatch<double>&, const CostModel&, double*, double*,
                            std::size_t);

}  // namespace sagesched
