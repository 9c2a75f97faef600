#include "sagesched/exact_sum.h"

#include <cmath>
#include <utility>
#include <vector>

namespace sagesched {
namespace {

constexpr std::size_t most_usual = 32;

// Doubles without common bits, smallest first, whose exact sum is that of all added.
class Partials {
  public:
    Partials() { partials_.reserve(most_usual); }

    void add(double value) {
        plain_ += value;
        std::size_t kept = 0;
        for (double other : partials_) {
            if (std::fabs(value) < std::fabs(other)) std::swap(value, other);
            const double sum = value + other;
            const double lost = other - (sum - value);
            if (lost != 0.0) partials_[kept++] = lost;
            value = sum;
        }
        partials_.resize(kept);
        partials_.push_back(value);
    }

    double rounded() const {
        if (partials_.empty()) return 0.0;
        std::size_t left = partials_.size();
        double sum = partials_[--left], lost = 0.0;
        if (!std::isfinite(sum)) return plain_;
        while (left > 0) {
            const double larger = sum, smaller = partials_[--left];
            sum = larger + smaller;
            lost = smaller - (sum - larger);
            if (lost != 0.0) break;
        }
        // Half way between two doubles, what is left decides.
        if (left > 0 && ((lost < 0.0 && partials_[left - 1] < 0.0) ||
                         (lost > 0.0 && partials_[left - 1] > 0.0))) {
            const double twice = 2.0 * lost, further = sum + twice;
            if (twice == further - sum) sum = further;
        }
        return sum + 0.0;  // not -0
    }

  private:
    std::vector<double> partials_;
    double plain_ = 0.0;
};

}  // namespace

double exact_sum(const double* values, std::size_t count) {
    Partials partials;
    for (std::size_t i = 0; i < count; ++i) partials.add(values[i]);
    return partials.rounded();
}

double exact_dot(const double* a, const double* b, std::size_t count) {
    Partials partials;
    for (std::size_t i = 0; i < count; ++i) partials.add(a[i] * b[i]);
    return partials.rounded();
}

}  // namespace sagesched
