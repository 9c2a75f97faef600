// Random requests, as a device has them and as the CPU has them.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

#include "gittins_cuda.h"
#include "sagesched/gittins.h"

enum class Kind { plain, wide, tiny, dear };

inline sagesched::TokenCounts column(const std::vector<double>& values) {
    return {sagesched::NumberType::float64, 0.0, values.data(), 1};
}

template <class T>
struct Problem {
    std::size_t rows, bins, stride;
    bool own;
    sagesched::CostModel cost{1.0, 0.5, 2.0};
    std::vector<T> pmf, support;  // by column, `stride` apart; the support [bins] if not `own`
    std::vector<double> age, prompt_len, cached_len;

    Problem(std::size_t rows_, std::size_t bins_, Kind kind, bool own_)
        : rows(rows_), bins(bins_), stride(rows_ + bins_ % 3), own(own_) {
        std::mt19937 random(static_cast<unsigned>(rows * 1000 + bins * 10) +
                            static_cast<unsigned>(kind));
        std::uniform_real_distribution<double> uniform;
        const auto chance = [&] { return uniform(random); };
        std::vector<double> edge(bins);
        double last = 0.0;
        for (std::size_t k = 0; k < bins; ++k) {
            const double wide = std::ceil(std::pow(10.0, 6.0 * chance()) / double(bins));
            last = edge[k] = last + (kind == Kind::wide ? wide : 1.0 + double(k * k / 8));
        }
        const std::size_t size = (bins - 1) * stride + rows;  // what is read, no more
        pmf.resize(size, T(-1));
        support.resize(own ? size : bins, T(-1));
        for (std::size_t k = 0; k < bins; ++k)
            for (std::size_t i = 0; i < rows; ++i) {
                const bool never = chance() < 0.3 || i % 9 == 8;
                pmf[k * stride + i] = never ? T(0) : mass_of(kind, chance(), chance());
                support[own ? k * stride + i : k] = T(edge[k] + shift(i));
            }
        for (std::size_t i = 0; i < rows; ++i) {
            age.push_back(i % 3 == 0 ? 0.0 : std::floor(chance() * 1.1 * last));
            if (i % 5 == 4) age[i] = edge[i % bins] + shift(i);
            if (i % 7 == 6) age[i] += 0.3;
            prompt_len.push_back(std::floor(4000.0 * chance()));
            cached_len.push_back(std::floor(4000.0 * chance()));
        }
        if (kind == Kind::dear) cost = {sizeof(T) == 4 ? 1e28 : 1e30, 1e-30, 0.0};
    }

    // Supports of neighbours differ.
    double shift(std::size_t row) const { return own ? double(row % 4) : 0.0; }

    static T mass_of(Kind kind, double mass, double exponent) {
        if (kind != Kind::tiny) return T(mass);
        if (exponent < 0.2) return std::numeric_limits<T>::denorm_min();
        return T(mass * std::pow(10.0, exponent * std::numeric_limits<T>::min_exponent10 * 1.15));
    }

    sagesched::DeviceBatch<T> batch(std::vector<T>& out, std::vector<T>& stop) const {
        return {rows,
                bins,
                pmf.data(),
                stride,
                support.data(),
                own ? stride : 1,
                own,
                column(age),
                column(prompt_len),
                column(cached_len),
                cost,
                out.data(),
                stop.empty() ? nullptr : stop.data()};
    }

    // Rows [first, last) on the CPU, as one batch.
    void on_cpu(std::size_t first, std::size_t last, T* out, T* stop) const {
        std::vector<T> masses, edges;
        for (std::size_t i = first; i < last; ++i)
            for (std::size_t k = 0; k < bins; ++k) {
                masses.push_back(pmf[k * stride + i]);
                edges.push_back(support[own ? k * stride + i : k]);
            }
        const std::vector<double> shared(edges.begin(), edges.begin() + std::ptrdiff_t(bins));
        const sagesched::IndexBatch<T> batch{masses.data(),
                                             shared.data(),
                                             last - first,
                                             bins,
                                             age.data() + first,
                                             prompt_len.data() + first,
                                             cached_len.data() + first,
                                             own ? edges.data() : nullptr};
        gittins_index(batch, cost, out + first, stop + first);
    }
};
