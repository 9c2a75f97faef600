#include "sagesched/nearest.h"

#include <algorithm>
#include <cmath>

namespace sagesched {
namespace {

using Code = std::int16_t;

constexpr double scale = 32000.0;  // a product of two unit vectors stays below 2^31

struct Candidate {
    std::int32_t product;
    std::size_t row;
};

// The rows seen so far that may be among the k best.
class Candidates {
  public:
    Candidates(std::size_t k, std::int64_t margin) : k_(k), margin_(margin), full_(2 * k) {
        kept_.reserve(full_);
    }

    void see(std::int32_t product, std::size_t row) {
        if (product < least_) return;
        kept_.push_back({product, row});
        if (kept_.size() >= full_) drop();
    }

    const std::vector<Candidate>& left() {
        drop();
        return kept_;
    }

  private:
    void drop() {
        if (kept_.size() <= k_) return;
        const auto last = kept_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
        std::nth_element(kept_.begin(), last, kept_.end(),
                         [](const auto& a, const auto& b) { return a.product > b.product; });
        least_ = last->product - margin_;
        const auto hopeless = [this](const auto& one) { return one.product < least_; };
        kept_.erase(std::remove_if(kept_.begin(), kept_.end(), hopeless), kept_.end());
        full_ = 2 * kept_.size();
    }

    std::vector<Candidate> kept_;
    std::size_t k_;
    std::int64_t margin_, least_ = INT64_MIN;
    std::size_t full_;
};

// Unsigned, so that codes of no unit vectors wrap round.
std::int32_t product(const Code* a, const Code* b, std::size_t dim) {
    std::uint32_t sum = 0;
    for (std::size_t j = 0; j < dim; ++j)
        sum += static_cast<std::uint32_t>(std::int32_t{a[j]} * std::int32_t{b[j]});
    return static_cast<std::int32_t>(sum);
}

// By how much the order of two rounded products may be wrong. Codes are at most 1/2 off, so in
// codes of unit vectors a product is scale * sqrt(dim) + dim / 4 off, if all errors add up.
std::int64_t margin(std::size_t dim) {
    const double wide = static_cast<double>(dim);
    return static_cast<std::int64_t>(std::ceil(2.0 * (1.001 * scale * std::sqrt(wide) + wide)));
}

// In the order of eight running sums, which the compiler keeps side by side.
float cosine(const float* a, const float* b, std::size_t dim) {
    constexpr std::size_t lanes = 8;
    float sums[lanes] = {};
    std::size_t j = 0;
    for (; j + lanes <= dim; j += lanes)
        for (std::size_t l = 0; l < lanes; ++l) sums[l] += a[j + l] * b[j + l];
    for (; j < dim; ++j) sums[j % lanes] += a[j] * b[j];
    float sum = 0.0F;
    for (const float one : sums) sum += one;
    return sum;
}

}  // namespace

void scale_to_unit(const double* vector, std::size_t dim, float* unit) {
    double squares = 0.0;
    for (std::size_t j = 0; j < dim; ++j) squares += vector[j] * vector[j];
    const double length = std::sqrt(squares);
    const bool usable = length > 1e-12 && std::isfinite(length);
    for (std::size_t j = 0; j < dim; ++j)
        unit[j] = usable ? static_cast<float>(vector[j] / length) : 0.0F;
}

void code_units(const float* values, std::size_t count, Code* codes) {
    for (std::size_t j = 0; j < count; ++j)
        codes[j] = static_cast<Code>(std::lround(std::clamp(double{values[j]}, -1.0, 1.0) * scale));
}

std::vector<Neighbour> nearest(const UnitRows& rows, const float* query, std::size_t k) {
    k = std::min(k, rows.count);
    if (k == 0) return {};
    std::vector<Code> code(rows.dim);
    code_units(query, rows.dim, code.data());
    Candidates candidates(k, margin(rows.dim));
    for (std::size_t i = 0; i < rows.count; ++i)
        candidates.see(product(rows.codes + i * rows.dim, code.data(), rows.dim), i);
    const auto& left = candidates.left();
    std::vector<Neighbour> found;
    found.reserve(left.size());
    for (const auto& one : left)
        found.push_back({cosine(rows.values + one.row * rows.dim, query, rows.dim), one.row});
    const auto nearer = [](const Neighbour& a, const Neighbour& b) {
        return a.cosine > b.cosine || (a.cosine == b.cosine && a.row < b.row);
    };
    const auto last = found.begin() + static_cast<std::ptrdiff_t>(k);
    if (last != found.end()) std::nth_element(found.begin(), last, found.end(), nearer);
    found.erase(last, found.end());
    std::sort(found.begin(), found.end(), nearer);
    return found;
}

}  // namespace sagesched
