#include "sagesched/memory_forecast.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sagesched {

namespace {

// The probability that an output is longer, for lengths that are asked about in ascending order.
// Inside a bin it falls linearly.
class Survival {
  public:
    Survival(const std::vector<double>& edges, const double* pmf) : edges_(edges), pmf_(pmf) {
        for (std::size_t bin = 0; bin < edges.size(); ++bin) left_ += pmf[bin];
    }

    double at(double tokens) {
        while (bin_ < edges_.size() && edges_[bin_] <= tokens) {
            left_ -= pmf_[bin_];
            from_ = edges_[bin_++];
        }
        if (bin_ == edges_.size()) return 0.0;
        const double share = (tokens - from_) / (edges_[bin_] - from_);
        return std::max(0.0, left_ - share * pmf_[bin_]);
    }

  private:
    const std::vector<double>& edges_;
    const double* pmf_;
    std::size_t bin_ = 0;
    double left_ = 0.0, from_ = 0.0;
};

constexpr double kNothingLeft = 1e-9;

}  // namespace

MemoryForecast::MemoryForecast(std::vector<double> edges) : edges_(std::move(edges)) {
    // Whole steps, at most eight an octave, as the edges have them: 1, 2, ... 16, 18, 20, ...
    for (double octave = 1.0; octave < 2.0 * edges_.back(); octave *= 2.0)
        for (double step = octave; step < 2.0 * octave; step += std::max(1.0, octave / 8.0))
            ahead_.push_back(step);
    clear();
}

void MemoryForecast::clear() { growth_.assign(ahead_.size(), {0.0, 0.0}); }

void MemoryForecast::moments_of(const Holder& holder, Moments* out) const {
    Survival survival(edges_, holder.pmf);
    const double now = survival.at(holder.age);
    // Of a request that has outlived its distribution nothing is known but its age (Pareto, 1).
    const double pareto_age = std::max(1.0, holder.age);
    for (std::size_t i = 0; i < ahead_.size(); ++i) {
        const double k = ahead_[i];
        const double runs = now > kNothingLeft ? std::min(1.0, survival.at(holder.age + k) / now)
                                               : pareto_age / (pareto_age + k);
        const double apart = k + holder.freeable;
        out[i] = {runs * apart - holder.freeable, runs * (1.0 - runs) * apart * apart};
    }
}

void MemoryForecast::add(const Holder& holder) {
    std::vector<Moments> own(ahead_.size());
    moments_of(holder, own.data());
    for (std::size_t i = 0; i < own.size(); ++i) {
        growth_[i].mean += own[i].mean;
        growth_[i].variance += own[i].variance;
    }
}

double MemoryForecast::peak(double deviations) const {
    double most = 0.0;
    for (const Moments& at : growth_)
        most = std::max(most, at.mean + deviations * std::sqrt(at.variance));
    return most;
}

double MemoryForecast::peak_with(const Holder& holder, double deviations) const {
    std::vector<Moments> own(ahead_.size());
    moments_of(holder, own.data());
    double most = 0.0;
    for (std::size_t i = 0; i < own.size(); ++i)
        most = std::max(most, growth_[i].mean + own[i].mean +
                                  deviations * std::sqrt(growth_[i].variance + own[i].variance));
    return most;
}

}  // namespace sagesched
