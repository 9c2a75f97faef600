#pragma once

#include <cstddef>
#include <vector>

namespace sagesched {

// A request that holds KV memory, or is about to.
struct Holder {
    const double* pmf;  // of its output length, one mass per edge; it need not sum to 1
    double age;         // tokens it has produced
    double freeable;    // KV tokens that nobody else needs once it ends
};

// How much KV memory a batch will need, at its peak, beyond what it holds now.
//
// A request that still runs k steps from now holds k tokens more; one that has ended by then has
// given back what it held. So the growth after k steps is a sum of independent two-valued variables
// with a mean and a variance, and its peak is the largest mean plus some standard deviations over
// all k: a quantile of the sum, which a sum of quantiles is not. The peak over time is that of
// Past-Future (arXiv 2507.10150, section 3), there for given lengths.
class MemoryForecast {
  public:
    // Edges as of a length grid: ascending, above 0.
    explicit MemoryForecast(std::vector<double> edges);

    std::size_t bins() const { return edges_.size(); }

    // Forget everybody.
    void clear();

    // One more in the batch.
    void add(const Holder& holder);

    // The peak, KV tokens, at least 0.
    double peak(double deviations) const;

    // The peak if this one came, too.
    double peak_with(const Holder& holder, double deviations);

  private:
    struct Moments {
        double mean, variance;
    };

    void moments_of(const Holder& holder, std::vector<Moments>& out) const;

    std::vector<double> edges_;
    std::vector<double> densities_;  // 1 / width of each bin
    std::vector<double> ahead_;      // steps from now at which growth is looked at
    std::vector<Moments> growth_;
    std::vector<Moments> own_;  // of one request, while it is looked at
};

}  // namespace sagesched
