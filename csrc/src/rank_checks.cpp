#include "rank_checks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "reject.h"
#include "sagesched/check.h"

namespace sagesched {
namespace {

std::string place_of(std::size_t row, std::size_t count) {
    return count == 1 ? "" : " row " + std::to_string(row);
}

struct Field {
    const char* name;
    double NewRequest::* value;
};
constexpr Field token_fields[] = {{"prompt_len", &NewRequest::prompt_len},
                                  {"age", &NewRequest::age},
                                  {"cached_len", &NewRequest::cached_len}};

// No output outlives twice max_tokens: a request beyond its support ends at twice its age.
double largest_index(const CostModel& cost) {
    constexpr double longest = 2.0 * max_tokens;
    return cost.token * longest + cost.memory * (0.5 * longest + max_tokens) * longest +
           cost.prefill * max_tokens;
}

constexpr double largest_float = std::numeric_limits<float>::max();

// A row all of whose masses are so small that float32 would lose digits of them is brought up to
// about 1. The index does not depend on the scale, and a power of two changes no digit.
constexpr double faint = 0x1p-60;

double scale_for_float(const double* row, std::size_t bins) {
    double largest = 0.0;
    for (std::size_t k = 0; k < bins; ++k) largest = std::max(largest, row[k]);
    if (largest == 0.0 || largest >= faint) return 1.0;
    return std::ldexp(1.0, std::min(-std::ilogb(largest), 1000));
}

}  // namespace

void narrow_pmf(const double* pmf, std::size_t rows, std::size_t bins, float* out) {
    check_pmf(pmf, rows, bins);
    for (std::size_t row = 0; row < rows; ++row) {
        const double* const from = pmf + row * bins;
        const double scale = scale_for_float(from, bins);
        for (std::size_t k = 0; k < bins; ++k) {
            if (from[k] > largest_float)
                reject("pmf row ", row, ", column ", k, " is ", from[k],
                       ", more than a float32 holds; scale the row down");
            out[row * bins + k] = static_cast<float>(from[k] * scale);
        }
    }
}

void check_requests(const NewRequest* requests, std::size_t count) {
    for (std::size_t row = 0; row < count; ++row) {
        const NewRequest& request = requests[row];
        for (const auto& [name, value] : token_fields)
            if (!(request.*value >= 0.0 && request.*value <= max_tokens))
                check_tokens((name + place_of(row, count)).c_str(), request.*value);
        if (!(request.arrival >= 0.0 && request.arrival <= max_clock))
            reject("arrival", place_of(row, count), " is ", request.arrival,
                   "; it must be finite, >= 0 and at most ", max_clock);
        if (!(request.lead >= 0.0 && request.lead <= max_lead))
            reject("lead", place_of(row, count), " is ", request.lead,
                   "; it must lie between 0 and ", max_lead);
    }
}

void check_changes(const Changes& changes) {
    if (changes.age) check_tokens("age", changes.age, changes.count);
    if (changes.cached_len) check_tokens("cached_len", changes.cached_len, changes.count);
    if (!changes.boost) return;
    for (std::size_t row = 0; row < changes.count; ++row)
        if (!(std::abs(changes.boost[row]) <= max_clock))
            reject("boost row ", row, " is ", changes.boost[row], "; it must lie between ",
                   -max_clock, " and ", max_clock);
}

void check_index_weight(double value) {
    if (!(value >= 0.0 && (value <= max_clock || std::isinf(value))))
        reject("index_weight is ", value, "; it must be >= 0 and at most ", max_clock,
               ", or inf to order by the index alone");
}

void check_index_band(double low, double high) {
    if (!(low <= high)) reject("index band ", low, " to ", high, "; low must not be above high");
    if (std::isinf(low) && std::isinf(high) && low == high)
        reject("index band ", low, " to ", high, "; it must hold a finite number");
}

void check_lead_scale(double value) {
    if (!(value >= 0.0 && value <= max_lead))
        reject("lead scale is ", value, "; it must lie between 0 and ", max_lead);
}

void check_slice(std::size_t value) {
    if (value == 0) reject("slice is 0; it must be at least 1");
}

void check_rank_support(const std::vector<double>& support) {
    check_support(support.data(), support.size());
    if (static_cast<float>(support[0]) == 0.0f)
        reject("support column 0 is ", support[0], ", as a float32 zero");
    for (std::size_t k = 1; k < support.size(); ++k)
        if (static_cast<float>(support[k]) == static_cast<float>(support[k - 1]))
            reject("support column ", k, " is ", support[k], ", as a float32 the same as column ",
                   k - 1, "; merge the two bins");
}

void check_rank_cost(const CostModel& cost) {
    check_cost_model(cost);
    const double largest = largest_index(cost);
    if (!(largest <= largest_float))
        reject(
            "cost model: an index could be as large as ", largest,
            ", more than a float32 holds; scale the coefficients down, only their ratio matters");
}

}  // namespace sagesched
