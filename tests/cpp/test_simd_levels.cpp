#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#include "check_that.h"
#include "sagesched/gittins.h"
#include "sagesched/simd_level.h"

using sagesched::IndexBatch;

namespace {

template <class T>
struct Problem {
    std::size_t rows, bins;
    std::vector<T> by_row, by_column;
    std::vector<double> support, age, prompt_len, cached_len;

    Problem(std::size_t rows_, std::size_t bins_) : rows(rows_), bins(bins_) {
        std::mt19937 random(static_cast<unsigned>(rows * 1000 + bins));
        std::uniform_real_distribution<double> uniform;
        by_row.resize(rows * bins);
        by_column.resize(rows * bins);
        double edge = 0.0;
        for (std::size_t k = 0; k < bins; ++k)
            support.push_back(edge += 1.0 + static_cast<double>(k * k / 8));
        for (std::size_t i = 0; i < rows; ++i) {
            for (std::size_t k = 0; k < bins; ++k) {
                const double mass = uniform(random);
                by_row[i * bins + k] = by_column[k * rows + i] =
                    static_cast<T>(mass < 0.3 ? 0.0 : mass);
            }
            age.push_back(i % 3 == 0 ? 0.0 : uniform(random) * 1.1 * edge);
            prompt_len.push_back(100.0 * uniform(random));
            cached_len.push_back(100.0 * uniform(random));
        }
    }

    IndexBatch<T> batch(bool columns) const {
        IndexBatch<T> result{by_row.data(),     support.data(),   rows, bins, age.data(),
                             prompt_len.data(), cached_len.data()};
        if (columns) result.pmf = by_column.data();
        result.by_column = columns;
        return result;
    }
};

// Index and stop of each row, one after the other.
template <class T>
std::vector<T> solve(const Problem<T>& problem, bool columns, std::size_t threads) {
    std::vector<T> out(2 * problem.rows);
    gittins_index(problem.batch(columns), {1.0, 0.5, 2.0}, out.data(), out.data() + problem.rows,
                  threads);
    return out;
}

template <class T>
bool same_bits(const std::vector<T>& left, const std::vector<T>& right) {
    return left.size() == right.size() &&
           std::memcmp(left.data(), right.data(), left.size() * sizeof(T)) == 0;
}

template <class T>
void all_levels_give_the_same_bits() {
    for (std::size_t rows : {1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 130})
        for (std::size_t bins : {1, 2, 7, 16, 17, 33, 64, 100}) {
            const Problem<T> problem(rows, bins);
            sagesched::set_simd_level("scalar");
            const std::vector<T> expected = solve(problem, false, 1);
            for (const std::string& level : sagesched::simd_levels())
                for (const bool columns : {false, true})
                    for (const std::size_t threads : {1, 3}) {
                        sagesched::set_simd_level(level);
                        CHECK(same_bits(solve(problem, columns, threads), expected));
                    }
        }
}

void unknown_level() {
    const std::string before = sagesched::simd_level();
    CHECK(throws_with<std::invalid_argument>("\"mmx\"; this machine can run: scalar",
                                             [] { sagesched::set_simd_level("mmx"); }));
    CHECK(sagesched::simd_level() == before);
}

}  // namespace

int main() {
    all_levels_give_the_same_bits<float>();
    all_levels_give_the_same_bits<double>();
    unknown_level();
    return failures != 0;
}
