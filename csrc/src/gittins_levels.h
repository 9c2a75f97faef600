// What each instruction-set file provides, and what it is given.
#pragma once

#include <cstddef>

namespace sagesched {

// A batch made ready for the kernel: checked, and in units in which the largest cost is about 1,
// so that products of costs and masses stay within the range of T.
template <class T>
struct Job {
    std::size_t rows, bins;
    const T* pmf;
    const T* own_support;  // null: edge, step and slope describe the support of all rows
    bool by_column;
    std::size_t lead;  // rows that the first tile lacks, so that the others start on a cache line
    const T* edge;     // [bins]
    const T* step;     // [bins] edge[k] - edge[k-1], edge[-1] = 0
    const T* slope;    // [bins] half_memory * (edge[k] + edge[k-1])
    const double *age, *prompt_len, *cached_len;
    double token, memory, prefill;
    T half_memory;
    T unit_root[2];  // their product is the unit of cost; alone each fits T
    T mass_limit;    // rows with a larger mass than this are not for the kernel
    T live_share;    // nor those with a live mass below this share of their largest mass
    T* out;
    T* stop;  // null: not asked for
};

// A row that the kernel leaves to the careful code gets this in `out`: NaN.
//
//   tile_rows  rows per tile
//   run        fills out (and stop) for the tiles [first, last); scratch holds 2 * tile_rows * bins
//              values and is aligned to 64 bytes. Tile i has the rows from i * tile_rows - lead on.
template <class T>
struct Kernel {
    std::size_t tile_rows;
    void (*run)(const Job<T>& job, std::size_t first, std::size_t last, T* scratch);
};

struct Level {
    const char* name;
    Kernel<float> in_float;
    Kernel<double> in_double;
    // Sums in any order; see read_floor.h.
    float (*sum_floats)(const float* values, std::size_t count);
    double (*sum_doubles)(const double* values, std::size_t count);
};

extern const Level scalar_level;
extern const Level avx2_level;
extern const Level avx512_level;
extern const Level neon_level;

const Level& active_level();  // throws like simd_level()

inline const Kernel<float>& kernel_of(const Level& level, float) { return level.in_float; }
inline const Kernel<double>& kernel_of(const Level& level, double) { return level.in_double; }

}  // namespace sagesched
