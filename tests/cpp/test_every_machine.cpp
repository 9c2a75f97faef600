// The same bits on every machine: what x86-64 and 64-bit Arm gave is written down here, and both
// must give it again. Ranks of a tensor-parallel group may run on different machines and must
// agree.
#include <cinttypes>
#include <cstdint>
#include <random>
#include <vector>

#include "check_that.h"
#include "sagesched/curve.h"
#include "sagesched/gittins.h"
#include "sagesched/rank_engine.h"

namespace {

using sagesched::CostModel;

constexpr std::size_t rows = 500, bins = 40;
constexpr CostModel cost{1.0, 0.5, 2.0};

// FNV-1a over the bytes of values, in order.
class Fingerprint {
  public:
    template <class T>
    void add(T value) {
        unsigned char bytes[sizeof value];
        __builtin_memcpy(bytes, &value, sizeof value);
        for (const unsigned char byte : bytes) hash_ = (hash_ ^ byte) * 0x100000001b3u;
    }
    bool is(std::uint64_t expected) const {
        if (hash_ != expected) std::printf("fingerprint 0x%016" PRIx64 "\n", hash_);
        return hash_ == expected;
    }

  private:
    std::uint64_t hash_ = 0xcbf29ce484222325u;
};

struct Requests {
    std::vector<float> pmf;
    std::vector<double> support, age, prompt_len, cached_len;

    Requests() {
        std::mt19937 random(7);
        // Not a distribution of the library's: those may differ from one to another.
        const auto draw = [&random] { return static_cast<double>(random()) / 4294967296.0; };
        double edge = 1.0;
        for (std::size_t k = 0; k < bins; ++k) support.push_back(edge *= 1.37);
        for (std::size_t i = 0; i < rows; ++i) {
            for (std::size_t k = 0; k < bins; ++k) {
                const double mass = draw();
                pmf.push_back(static_cast<float>(mass < 0.3 ? 0.0 : mass));
            }
            age.push_back(i % 3 == 0 ? 0.0 : draw() * 1.1 * edge);
            prompt_len.push_back(4000.0 * draw());
            cached_len.push_back(4000.0 * draw());
        }
    }
};

template <class T>
Fingerprint indices(const Requests& requests) {
    const std::vector<T> pmf(requests.pmf.begin(), requests.pmf.end());
    std::vector<T> index(rows), stop(rows);
    gittins_index(sagesched::IndexBatch<T>{pmf.data(), requests.support.data(), rows, bins,
                                           requests.age.data(), requests.prompt_len.data(),
                                           requests.cached_len.data()},
                  cost, index.data(), stop.data());
    Fingerprint found;
    for (const T value : index) found.add(value);
    for (const T value : stop) found.add(value);
    return found;
}

Fingerprint curves(const Requests& requests) {
    sagesched::IndexCurve curve(requests.support, cost);
    Fingerprint found;
    for (std::size_t i = 0; i < rows; ++i) {
        const std::vector<double> row(
            requests.pmf.begin() + static_cast<std::ptrdiff_t>(i * bins),
            requests.pmf.begin() + static_cast<std::ptrdiff_t>((i + 1) * bins));
        curve.assign(row.data(), requests.prompt_len[i]);
        found.add(curve.index(requests.age[i], requests.cached_len[i]).index);
    }
    return found;
}

Fingerprint ranks(const Requests& requests) {
    sagesched::RankEngine engine(requests.support, cost, 500.0);
    Fingerprint found;
    for (std::size_t i = 0; i < rows; ++i)
        engine.add(requests.pmf.data() + i * bins,
                   {requests.prompt_len[i], static_cast<double>(10 * i), requests.age[i],
                    requests.cached_len[i], static_cast<std::int64_t>(i % 3)});
    for (const std::int64_t handle : engine.top(rows)) {
        found.add(handle);
        found.add(engine.key(handle));
    }
    return found;
}

}  // namespace

int main() {
    const Requests requests;
    CHECK(indices<float>(requests).is(0x1e1a2365a69def43));
    CHECK(indices<double>(requests).is(0xc10ae01e91d2afb5));
    CHECK(curves(requests).is(0x849fb07dd17170a7));
    CHECK(ranks(requests).is(0xfdf280415d6dea11));
    return failures != 0;
}
