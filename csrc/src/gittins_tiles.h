// Feeds the kernel: rows become columns, token counts become costs, the last tile is filled up.
// The rules of lanes.h hold here too.
#pragma once

#include "gittins_kernel.h"
#include "gittins_units.h"

namespace sagesched {
namespace {

template <class V, std::size_t... i>
SAGESCHED_DEVICE V low_zip(V a, V b, std::index_sequence<i...>) {
    return __builtin_shufflevector(a, b, (i / 2 + i % 2 * sizeof...(i))...);
}

template <class V, std::size_t... i>
SAGESCHED_DEVICE V high_zip(V a, V b, std::index_sequence<i...>) {
    constexpr std::size_t n = sizeof...(i);
    return __builtin_shufflevector(a, b, (n / 2 + i / 2 + i % 2 * n)...);
}

// Transposes L::count rows and columns. Interleaving the first half of the rows with the second
// log2(count) times brings every element to its place.
template <class L>
SAGESCHED_DEVICE void transpose(const typename L::Scalar* const* rows, std::size_t column,
                                typename L::Scalar* to, std::size_t stride) {
    using V = typename L::Value;
    using Sequence = std::make_index_sequence<L::count>;
    constexpr int n = L::count;
    V x[n], y[n];
    for (int i = 0; i < n; ++i) x[i] = L::load(rows[i] + column);
#pragma GCC unroll 4
    for (int round = 1; round < n; round *= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < n / 2; ++i) {
            y[2 * i] = low_zip(x[i], x[i + n / 2], Sequence());
            y[2 * i + 1] = high_zip(x[i], x[i + n / 2], Sequence());
        }
#pragma GCC unroll 16
        for (int i = 0; i < n; ++i) x[i] = y[i];
    }
    for (int i = 0; i < n; ++i)
        L::store(to + (column + static_cast<std::size_t>(i)) * stride, x[i]);
}

// Row `first + i` of a batch; the last one stands in where a batch is smaller than a tile.
inline std::size_t row_or_last(std::size_t first, std::size_t i, std::size_t rows) {
    return first + i < rows ? first + i : rows - 1;
}

// Rows [first, first + tile) of a matrix stored by row, as the columns of a tile.
template <class L, int unroll>
void gather_rows(const typename L::Scalar* data, std::size_t rows, std::size_t bins,
                 std::size_t first, typename L::Scalar* to) {
    using T = typename L::Scalar;
    constexpr std::size_t tile = std::size_t{unroll} * L::count;
    const T* from[tile];
    for (std::size_t i = 0; i < tile; ++i) from[i] = data + row_or_last(first, i, rows) * bins;
    std::size_t k = 0;
    if constexpr (L::count > 1)
        for (; k + L::count <= bins; k += L::count)
            for (int u = 0; u < unroll; ++u)
                transpose<L>(from + u * L::count, k, to + u * L::count, tile);
    for (; k < bins; ++k)
        for (std::size_t i = 0; i < tile; ++i) to[k * tile + i] = from[i][k];
}

// The same for a matrix stored by column.
template <class T>
void gather_columns(const T* data, std::size_t rows, std::size_t bins, std::size_t first,
                    std::size_t tile, T* to) {
    for (std::size_t k = 0; k < bins; ++k)
        for (std::size_t i = 0; i < tile; ++i)
            to[k * tile + i] = data[k * rows + row_or_last(first, i, rows)];
}

// First k with edge[k] > value; bins if there is none.
template <class T>
std::size_t first_above(const T* edge, std::size_t bins, T value) {
    std::size_t low = 0, size = bins;
    while (size > 0) {
        const std::size_t half = size / 2;
        if (edge[low + half] > value) {
            size = half;
        } else {
            low += half + 1;
            size -= half + 1;
        }
    }
    return low;
}

template <class T, std::size_t tile>
struct Requests {
    alignas(64) T age[tile];
    alignas(64) T slope[tile];
    alignas(64) T offset[tile];

    void fill(const Job<T>& job, const double* ages, const double* prompts, const double* cached) {
        for (std::size_t i = 0; i < tile; ++i) {
            age[i] = static_cast<T>(ages[i]);
            slope[i] = slope_of(job, prompts[i]);
            offset[i] = offset_of(job, prompts[i], cached[i]);
        }
    }

    void read(const Job<T>& job, std::size_t first) {
        if (job.rows >= tile)
            return fill(job, job.age + first, job.prompt_len + first, job.cached_len + first);
        double ages[tile], prompts[tile], cached[tile];
        for (std::size_t i = 0; i < tile; ++i) {
            const std::size_t row = row_or_last(first, i, job.rows);
            ages[i] = job.age[row];
            prompts[i] = job.prompt_len[row];
            cached[i] = job.cached_len[row];
        }
        fill(job, ages, prompts, cached);
    }
};

template <class L, int unroll>
struct Tiles {
    using T = typename L::Scalar;
    static constexpr std::size_t tile = std::size_t{unroll} * L::count;

    static Columns<T> columns(const Job<T>& job, const T* data, std::size_t first, T* scratch) {
        if (job.by_column && job.rows >= tile) return {data + first, job.rows};
        if (job.by_column)
            gather_columns(data, job.rows, job.bins, first, tile, scratch);
        else
            gather_rows<L, unroll>(data, job.rows, job.bins, first, scratch);
        return {scratch, tile};
    }

    static void find_ranges(const Job<T>& job, TileInput<T>& in) {
        in.live_from = 0;
        in.all_live = job.bins;
        if (job.own_support != nullptr) return;
        T least = in.age[0], most = in.age[0];
        for (std::size_t i = 1; i < tile; ++i) {
            least = smaller(least, in.age[i]);
            most = larger(most, in.age[i]);
        }
        in.live_from = least < job.edge[0] ? 0 : first_above(job.edge, job.bins, least);
        in.all_live = most < job.edge[0] ? 0 : first_above(job.edge, job.bins, most);
    }

    template <bool own, bool want_stop>
    static void run_as(const Job<T>& job, std::size_t first_tile, std::size_t last_tile,
                       T* scratch) {
        Requests<T, tile> requests;
        alignas(64) T out[tile], stop[tile];
        for (std::size_t number = first_tile; number < last_tile; ++number) {
            // What is wanted of the tile, and where it is read: a tile that would stick out at
            // either end is moved inwards, and the rows of its neighbour in it are not written.
            const std::size_t from = number > 0 ? number * tile - job.lead : 0;
            const std::size_t to = smaller((number + 1) * tile - job.lead, job.rows);
            const std::size_t most = job.rows > tile ? job.rows - tile : 0;
            const std::size_t first = smaller(from, most);
            requests.read(job, first);
            TileInput<T> in{};
            in.pmf = columns(job, job.pmf, first, scratch);
            if (own) in.support = columns(job, job.own_support, first, scratch + tile * job.bins);
            in.age = requests.age;
            in.slope = requests.slope;
            in.offset = requests.offset;
            in.next_tile = job.by_column && first + tile <= most ? tile : 0;
            find_ranges(job, in);
            index_of_tile<L, unroll, own, want_stop>(job, in, out, stop);
            for (std::size_t row = from; row < to; ++row) job.out[row] = out[row - first];
            if (want_stop)
                for (std::size_t row = from; row < to; ++row) job.stop[row] = stop[row - first];
        }
    }

    static void run(const Job<T>& job, std::size_t first, std::size_t last, T* scratch) {
        const bool own = job.own_support != nullptr, want_stop = job.stop != nullptr;
        if (own)
            want_stop ? run_as<true, true>(job, first, last, scratch)
                      : run_as<true, false>(job, first, last, scratch);
        else
            want_stop ? run_as<false, true>(job, first, last, scratch)
                      : run_as<false, false>(job, first, last, scratch);
    }
};

template <class T, int width, int unroll>
constexpr Kernel<T> make_kernel() {
    using Chosen = Tiles<Lanes<T, width>, unroll>;
    return {Chosen::tile, &Chosen::run};
}

}  // namespace
}  // namespace sagesched
