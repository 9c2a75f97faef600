// The source of the CUDA kernel, launcher included, compiled for the host and compared with the
// scalar level bit for bit.
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "check_that.h"
#include "cuda_on_host/problem.h"
#include "gittins_cuda.cu"
#include "sagesched/simd_level.h"

using sagesched::CostModel;
using sagesched::DeviceBatch;
using sagesched::NumberType;
using sagesched::TokenCounts;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

template <class T>
bool same_bits(const std::vector<T>& left, const std::vector<T>& right) {
    return left.size() == right.size() &&
           std::memcmp(left.data(), right.data(), left.size() * sizeof(T)) == 0;
}

// Each row alone on the CPU; NaN where it is refused.
template <class T>
void row_by_row(const Problem<T>& problem, std::vector<T>& out, std::vector<T>& stop) {
    for (std::size_t i = 0; i < problem.rows; ++i) try {
            problem.on_cpu(i, i + 1, out.data(), stop.data());
        } catch (const std::invalid_argument&) {
            out[i] = stop[i] = T(nan);
        }
}

template <class T>
void check_same(const Problem<T>& problem) {
    std::vector<T> expected(problem.rows), expected_stop(problem.rows);
    row_by_row(problem, expected, expected_stop);
    std::vector<T> out(problem.rows, T(-1)), stop(problem.rows, T(-1)), none;
    gittins_index_on_device(problem.batch(out, stop), 0, nullptr);
    CHECK(same_bits(out, expected));
    CHECK(same_bits(stop, expected_stop));
    std::vector<T> without_stop(problem.rows, T(-1));
    gittins_index_on_device(problem.batch(without_stop, none), 0, nullptr);
    CHECK(same_bits(without_stop, expected));
}

template <class T>
void same_bits_as_the_scalar_level() {
    for (std::size_t rows : {1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130})
        for (std::size_t bins : {1, 2, 7, 16, 17, 33, 64, 100})
            for (const Kind kind : {Kind::plain, Kind::wide, Kind::tiny, Kind::dear})
                check_same(Problem<T>(rows, bins, kind, bins % 2 == 1));
}

template <class T>
void same_bits_as_a_whole_batch() {
    for (std::size_t rows : {1, 33, 130})
        for (const bool own : {false, true}) {
            const Problem<T> problem(rows, 33, Kind::plain, own);
            std::vector<T> expected(rows), expected_stop(rows), out(rows), stop(rows);
            problem.on_cpu(0, rows, expected.data(), expected_stop.data());
            gittins_index_on_device(problem.batch(out, stop), 0, nullptr);
            CHECK(same_bits(out, expected));
            CHECK(same_bits(stop, expected_stop));
        }
}

template <class T>
void costs_far_from_one() {
    for (const CostModel cost :
         {CostModel{1e30, 1e30, 1e30}, CostModel{0.0, 1e-300, 0.0}, CostModel{5e-324, 0.0, 0.0},
          CostModel{1e30, 1e-320, 0.0}, CostModel{0.0, 0.0, 1.0}, CostModel{1e-30, 0.0, 1e10}})
        for (const Kind kind : {Kind::plain, Kind::wide, Kind::tiny}) {
            Problem<T> problem(33, 17, kind, false);
            problem.cost = cost;
            check_same(problem);
        }
}

template <class T>
void a_bad_row_is_nan_and_no_other() {
    const double smallest = std::numeric_limits<T>::denorm_min();
    for (const double bad : {nan, infinity, -infinity, -1.0, -smallest}) {
        for (std::size_t k : {0, 3, 6}) {
            Problem<T> problem(20, 7, Kind::plain, true);
            problem.pmf[k * problem.stride + 5] = T(bad);
            problem.support[k * problem.stride + 11] = T(bad);
            check_same(problem);
        }
        for (auto counts : {&Problem<T>::age, &Problem<T>::prompt_len, &Problem<T>::cached_len}) {
            Problem<T> problem(20, 7, Kind::plain, false);
            (problem.*counts)[7] = bad;
            (problem.*counts)[8] = -0.0;
            (problem.*counts)[9] = 2 * sagesched::max_tokens;
            check_same(problem);
        }
    }
    std::vector<T> out(20), stop;
    Problem<T> problem(20, 7, Kind::plain, false);
    problem.support[3] = problem.support[2];  // shared: all rows are bad
    gittins_index_on_device(problem.batch(out, stop), 0, nullptr);
    for (const T index : out) CHECK(index != index);
}

void every_type_of_token_count() {
    Problem<float> problem(40, 17, Kind::plain, false);
    for (double& age : problem.age) age = std::floor(age);
    const std::vector<float> floats(problem.age.begin(), problem.age.end());
    const std::vector<std::int32_t> ints(problem.age.begin(), problem.age.end());
    std::vector<std::int64_t> longs;  // with a gap after each
    for (const double age : problem.age) longs.insert(longs.end(), {std::int64_t(age), -1});
    std::vector<float> expected(40), out(40), none;
    const DeviceBatch<float> doubles = problem.batch(expected, none);
    gittins_index_on_device(doubles, 0, nullptr);
    for (const TokenCounts age : {TokenCounts{NumberType::float32, 0.0, floats.data(), 1},
                                  TokenCounts{NumberType::int32, 0.0, ints.data(), 1},
                                  TokenCounts{NumberType::int64, 0.0, longs.data(), 2}}) {
        DeviceBatch<float> batch = problem.batch(out, none);
        batch.age = age;
        gittins_index_on_device(batch, 0, nullptr);
        CHECK(same_bits(out, expected));
    }
    Problem<float> alike = problem;
    alike.age.assign(40, 12.0);
    gittins_index_on_device(alike.batch(expected, none), 0, nullptr);
    DeviceBatch<float> batch = problem.batch(out, none);
    batch.age = {NumberType::constant, 12.0, nullptr, 0};
    gittins_index_on_device(batch, 0, nullptr);
    CHECK(same_bits(out, expected));
}

void the_launch() {
    const Problem<float> problem(3, 2, Kind::plain, false);
    std::vector<float> out(3), none;
    int stream = 0;
    gittins_index_on_device(problem.batch(out, none), 1, &stream);
    CHECK(last_launch.device == 1 && last_launch.stream == &stream);
    CHECK(current_device == 0);
    CHECK(throws_with<std::runtime_error>("CUDA: invalid device ordinal", [&] {
        gittins_index_on_device(problem.batch(out, none), 2, nullptr);
    }));
    DeviceBatch<float> batch = problem.batch(out, none);
    batch.cost = {-1.0, 0.0, 0.0};
    CHECK(throws_with<std::invalid_argument>("token is -1",
                                             [&] { gittins_index_on_device(batch, 0, nullptr); }));
    for (auto counts : {&DeviceBatch<float>::age, &DeviceBatch<float>::prompt_len,
                        &DeviceBatch<float>::cached_len})
        for (const double bad : {nan, infinity, -1.0, 2 * sagesched::max_tokens}) {
            batch = problem.batch(out, none);
            batch.*counts = {NumberType::constant, bad, nullptr, 0};
            CHECK(throws_with<std::invalid_argument>(
                "at most 2^40 tokens", [&] { gittins_index_on_device(batch, 0, nullptr); }));
        }
    batch = problem.batch(out, none);
    batch.bins = 0;
    CHECK(throws_with<std::invalid_argument>("support is empty",
                                             [&] { gittins_index_on_device(batch, 0, nullptr); }));
    batch = problem.batch(out, none);
    batch.rows = 0;
    gittins_index_on_device(batch, 9, nullptr);  // nothing to do, wherever
}

template <class T>
void all_of() {
    same_bits_as_the_scalar_level<T>();
    same_bits_as_a_whole_batch<T>();
    costs_far_from_one<T>();
    a_bad_row_is_nan_and_no_other<T>();
}

}  // namespace

int main() {
    sagesched::set_simd_level("scalar");
    all_of<float>();
    all_of<double>();
    every_type_of_token_count();
    the_launch();
    return failures != 0;
}
