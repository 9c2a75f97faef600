#pragma once

#include <cstddef>

#include "sagesched/cost_model.h"

namespace sagesched {

// Requests to index, one per row. Borrowed memory: the caller keeps it alive.
//
//   pmf          [rows][bins]  mass of each output length, need not sum to 1
//   support      [bins]        right edge of each bin in tokens, strictly increasing, > 0
//   age          [rows]        output tokens produced so far
//   prompt_len   [rows]        prompt tokens
//   cached_len   [rows]        prompt tokens in the prefix cache; more than prompt_len counts as
//   all own_support  [rows][bins]  a support per row, laid out like pmf; `support` is then unused
//   by_column                  pmf and own_support are stored [bins][rows]: one column, one bin
//
// With float masses, support and age are rounded to float first and the arithmetic is float.
template <class T>
struct IndexBatch {
    const T* pmf;
    const double* support;
    std::size_t rows;
    std::size_t bins;
    const double* age;
    const double* prompt_len;
    const double* cached_len;
    const T* own_support = nullptr;
    bool by_column = false;
};

// Gittins index of the remaining cost of each row, written to out[rows]; always finite and > 0.
// stop[rows], unless null, receives the edge that attains the minimum: the age up to which the
// index promises to serve. The same bits for every layout, SIMD level and number of threads.
//
// Throws std::invalid_argument, naming row, column and value, for whatever check.h refuses and for
// an index that does not fit T; out and stop are then unspecified.
template <class T>
void gittins_index(const IndexBatch<T>& batch, const CostModel& cost, T* out, T* stop = nullptr,
                   std::size_t threads = 1);

}  // namespace sagesched
