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
    Survival(const std::vector<double>& edges, const std::vector<double>& densities,
             const double* pmf)
        : edges_(edges), densities_(densities), pmf_(pmf) {
        for (std::size_t bin = 0; bin < edges.size(); ++bin) left_ += pmf[bin];
    }

    double at(double tokens) {
        while (bin_ < edges_.size() && edges_[bin_] <= tokens) {
            left_ -= pmf_[bin_];
            from_ = edges_[bin_++];
        }
        if (bin_ == edges_.size()) return 0.0;
        const double share = (tokens - from_) * densities_[bin_];
        return std::max(0.0, left_ - share * pmf_[bin_]);
    }

  private:
    const std::vector<double>& edges_;
    const std::vector<double>& densities_;
    const double* pmf_;
    std::size_t bin_ = 0;
    double left_ = 0.0, from_ = 0.0;
};

constexpr double kNothingLeft = 1e-9;
constexpr double kNobodyRuns = 1e-12;

}  // namespace

MemoryForecast::MemoryForecast(std::vector<double> edges) : edges_(std::move(edges)) {
    double from = 0.0;
    for (const double edge : edges_) {
        densities_.push_back(1.0 / (edge - from));
        from = edge;
    }
    // Whole steps, at most eight an octave, as the edges have them: 1, 2, ... 16, 18, 20, ...
    for (double octave = 1.0; octave < 2.0 * edges_.back(); octave *= 2.0)
        for (double step = octave; step < 2.0 * octave; step += std::max(1.0, octave / 8.0))
            ahead_.push_back(step);
    own_.resize(ahead_.size());
    clear();
}

void MemoryForecast::clear() { growth_.assign(ahead_.size(), {0.0, 0.0}); }

void MemoryForecast::moments_of(const Holder& holder, std::vector<Moments>& out) const {
    Survival survival(edges_, densities_, holder.pmf);
    const double now = survival.at(holder.age);
    const bool known = now > kNothingLeft;
    const double scale = known ? 1.0 / now : 0.0;
    // Of a request that has outlived its distribution nothing is known but its age (Pareto, 1).
    const double pareto_age = std::max(1.0, holder.age);
    for (std::size_t i = 0; i < ahead_.size(); ++i) {
        const double k = ahead_[i];
        const double runs = known ? std::min(1.0, survival.at(holder.age + k) * scale)
                                  : pareto_age / (pareto_age + k);
        if (runs < kNobodyRuns) {  // nor later
            std::fill(out.begin() + static_cast<std::ptrdiff_t>(i), out.end(),
                      Moments{-holder.freeable, 0.0});
            return;
        }
        const double apart = k + holder.freeable;
        out[i] = {runs * apart - holder.freeable, runs * (1.0 - runs) * apart * apart};
    }
}

void MemoryForecast::add(const Holder& holder) {
    moments_of(holder, own_);
    for (std::size_t i = 0; i < own_.size(); ++i) {
        growth_[i].mean += own_[i].mean;
        growth_[i].variance += own_[i].variance;
    }
}

double MemoryForecast::peak(double deviations) const {
    double most = 0.0;
    for (const Moments& at : growth_)
        most = std::max(most, at.mean + deviations * std::sqrt(at.variance));
    return most;
}

double MemoryForecast::peak_with(const Holder& holder, double deviations) {
    moments_of(holder, own_);
    double most = 0.0;
    for (std::size_t i = 0; i < own_.size(); ++i)
        most = std::max(most, growth_[i].mean + own_[i].mean +
                                  deviations * std::sqrt(growth_[i].variance + own_[i].variance));
    return most;
}

}  // namespace sagesched
