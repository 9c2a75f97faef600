// The batched index kernel for requests whose numbers lie in the memory of a CUDA device.
#pragma once

#include <cstddef>

#include "sagesched/cost_model.h"

namespace sagesched {

enum class NumberType { constant, float32, float64, int32, int64 };

// One count of tokens per request, of any of these types: row i at data[i * stride]; or one
// constant for all requests.
struct TokenCounts {
    NumberType type;
    double constant;
    const void* data;
    std::size_t stride;
};

// Requests to index, one per row; all pointers are to device memory.
//
//   pmf          row i, column k at pmf[k * pmf_stride + i]: neighbouring threads read neighbours
//   support      own_support: like pmf; else row of [bins], column k at support[k * support_stride]
//   out, stop    [rows]; stop may be null
template <class T>
struct DeviceBatch {
    std::size_t rows, bins;
    const T* pmf;
    std::size_t pmf_stride;
    const T* support;
    std::size_t support_stride;
    bool own_support;
    TokenCounts age, prompt_len, cached_len;
    CostModel cost;
    T* out;
    T* stop;
};

// Queues one kernel on `stream` (a cudaStream_t) of `device` and returns; it allocates nothing and
// waits for nothing. What gittins_index gives for a row alone is written to out and stop, bit for
// bit; where that throws, NaN.
//
// Throws std::invalid_argument for a bad cost model, a constant that is no token count or no bins,
// std::runtime_error with CUDA's words for a launch that fails.
template <class T>
void gittins_index_on_device(const DeviceBatch<T>& batch, int device, void* stream);

}  // namespace sagesched
