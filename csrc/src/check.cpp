#include "sagesched/check.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "reject.h"

namespace sagesched {
namespace {

bool is_token_count(double value) { return value >= 0.0 && value <= max_tokens; }

std::uint64_t bits_of(double value) {
    std::uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Numbers >= 0 are ordered as their bits are, and the sign is the highest bit: a number is no token
// count if it is set in the bits or in their distance to the limit. (-0 is one all the same.) Three
// integer operations without a branch, so that the compiler makes vectors of them.
bool surely_token_counts(const double* values, std::size_t count) {
    const std::uint64_t limit = bits_of(max_tokens);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < count; ++i)
        seen |= bits_of(values[i]) | (limit - bits_of(values[i]));
    return seen >> 63 == 0;
}

void check_coefficient(const char* name, double value) {
    if (!(value >= 0.0 && value <= max_coefficient))
        reject("cost model: ", name, " is ", value, "; it must lie between 0 and ",
               max_coefficient);
}

}  // namespace

void check_cost_model(const CostModel& cost) {
    check_coefficient("token", cost.token);
    check_coefficient("memory", cost.memory);
    check_coefficient("prefill", cost.prefill);
    if (cost.token == 0.0 && cost.memory == 0.0 && cost.prefill == 0.0)
        reject("cost model: all coefficients are 0; at least one must be positive");
}

void check_support(const double* support, std::size_t bins) {
    check_support_row(support, 1, bins, no_row);
}

void check_tokens(const char* name, double value) {
    if (!is_token_count(value))
        reject(name, " is ", value, "; it must be finite, >= 0 and at most 2^40 tokens");
}

void check_tokens(const char* name, const double* values, std::size_t count) {
    if (surely_token_counts(values, count)) return;
    for (std::size_t row = 0; row < count; ++row)
        if (!is_token_count(values[row]))
            reject(name, " row ", row, " is ", values[row],
                   "; it must be finite, >= 0 and at most 2^40 tokens");
}

template <class T>
void check_pmf_row(const T* masses, std::size_t stride, std::size_t bins, std::size_t row) {
    double sum = 0.0;
    for (std::size_t k = 0; k < bins; ++k) {
        const auto mass = static_cast<double>(masses[k * stride]);
        if (!(mass >= 0.0 && std::isfinite(mass)))
            reject("pmf row ", row, ", column ", k, " is ", mass,
                   "; masses must be finite and >= 0");
        sum += mass;
    }
    if (!std::isfinite(sum)) reject("pmf row ", row, " sums to ", sum, "; scale it down");
}

template <class T>
void check_pmf(const T* pmf, std::size_t rows, std::size_t bins) {
    for (std::size_t row = 0; row < rows; ++row) check_pmf_row(pmf + row * bins, 1, bins, row);
}

template <class T>
void check_support_row(const T* edges, std::size_t stride, std::size_t bins, std::size_t row) {
    if (bins == 0) reject("support is empty; it needs at least one bin edge");
    const std::string where =
        row == no_row ? "support column " : "support row " + std::to_string(row) + ", column ";
    for (std::size_t k = 0; k < bins; ++k) {
        const auto edge = static_cast<double>(edges[k * stride]);
        if (!(edge > 0.0 && edge <= max_tokens))
            reject(where, k, " is ", edge,
                   "; bin edges must be positive, finite and at most 2^40 tokens");
        const double before = k > 0 ? static_cast<double>(edges[(k - 1) * stride]) : 0.0;
        if (edge <= before)
            reject(where, k, " is ", edge, ", not above column ", k - 1, " (", before,
                   "); bin edges must be strictly increasing",
                   sizeof(T) == 4 ? " (as float32, like the masses)" : "");
    }
}

template <class T>
void check_batch(const IndexBatch<T>& batch) {
    if (batch.bins == 0) reject("support is empty; it needs at least one bin edge");
    if (batch.own_support == nullptr) check_support(batch.support, batch.bins);
    check_tokens("age", batch.age, batch.rows);
    check_tokens("prompt_len", batch.prompt_len, batch.rows);
    check_tokens("cached_len", batch.cached_len, batch.rows);
}

template void check_pmf(const float*, std::size_t, std::size_t);
template void check_pmf(const double*, std::size_t, std::size_t);
template void check_pmf_row(const float*, std::size_t, std::size_t, std::size_t);
template void check_pmf_row(const double*, std::size_t, std::size_t, std::size_t);
template void check_support_row(const float*, std::size_t, std::size_t, std::size_t);
template void check_support_row(const double*, std::size_t, std::size_t, std::size_t);
template void check_batch(const IndexBatch<float>&);
template void check_batch(const IndexBatch<double>&);

}  // namespace sagesched
