#include "sagesched/check.h"

#include <cmath>
#include <sstream>
#include <string>

namespace sagesched {
namespace {

template <class... Parts>
[[noreturn]] void reject(const Parts&... parts) {
    std::ostringstream message;
    message.precision(17);
    (message << ... << parts);
    throw std::invalid_argument(message.str());
}

bool is_token_count(double value) { return value >= 0.0 && value <= max_tokens; }

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
    if (bins == 0) reject("support is empty; it needs at least one bin edge");
    for (std::size_t k = 0; k < bins; ++k) {
        if (!(support[k] > 0.0 && support[k] <= max_tokens))
            reject("support column ", k, " is ", support[k],
                   "; bin edges must be positive, finite and at most 2^40 tokens");
        if (k > 0 && support[k] <= support[k - 1])
            reject("support column ", k, " is ", support[k], ", not above column ", k - 1, " (",
                   support[k - 1], "); bin edges must be strictly increasing");
    }
}

void check_tokens(const char* name, double value) {
    if (!is_token_count(value))
        reject(name, " is ", value, "; it must be finite, >= 0 and at most 2^40 tokens");
}

void check_tokens(const char* name, const double* values, std::size_t count) {
    for (std::size_t row = 0; row < count; ++row)
        if (!is_token_count(values[row]))
            reject(name, " row ", row, " is ", values[row],
                   "; it must be finite, >= 0 and at most 2^40 tokens");
}

template <class T>
void check_pmf(const T* pmf, std::size_t rows, std::size_t bins) {
    for (std::size_t row = 0; row < rows; ++row) {
        double sum = 0.0;
        for (std::size_t k = 0; k < bins; ++k) {
            const double mass = static_cast<double>(pmf[row * bins + k]);
            if (!(mass >= 0.0 && std::isfinite(mass)))
                reject("pmf row ", row, ", column ", k, " is ", mass,
                       "; masses must be finite and >= 0");
            sum += mass;
        }
        if (!std::isfinite(sum)) reject("pmf row ", row, " sums to ", sum, "; scale it down");
    }
}

template <class T>
void check_batch(const IndexBatch<T>& batch) {
    check_support(batch.support, batch.bins);
    check_tokens("age", batch.age, batch.rows);
    check_tokens("prompt_len", batch.prompt_len, batch.rows);
    check_tokens("cached_len", batch.cached_len, batch.rows);
    check_pmf(batch.pmf, batch.rows, batch.bins);
}

template void check_pmf<float>(const float*, std::size_t, std::size_t);
template void check_pmf<double>(const double*, std::size_t, std::size_t);
template void check_batch<float>(const IndexBatch<float>&);
template void check_batch<double>(const IndexBatch<double>&);

}  // namespace sagesched
