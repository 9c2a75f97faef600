#include <cmath>
#include <limits>
#include <vector>

#include "check_that.h"
#include "sagesched/rank_engine.h"

using sagesched::NewRequest;
using sagesched::RankEngine;
using sagesched::UnknownHandleError;
using Order = std::vector<std::int64_t>;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
const std::vector<double> edges{10, 100};
const double short_output[] = {1, 0};
const double long_output[] = {0, 1};

RankEngine make_engine(double index_weight = inf) {
    return RankEngine(edges, {1.0, 0.0, 0.0}, index_weight);
}

NewRequest arriving(double arrival, std::int64_t priority = 0) {
    NewRequest request;
    request.arrival = arrival;
    request.priority = priority;
    return request;
}

void order() {
    RankEngine engine = make_engine();
    const auto slow = engine.add(long_output, arriving(0));
    const auto fast = engine.add(short_output, arriving(1));
    const auto urgent = engine.add(long_output, arriving(2, -1));
    const auto tie = engine.add(short_output, arriving(0));
    CHECK((engine.top(9) == Order{urgent, fast, tie, slow}));
    CHECK((engine.top(1) == Order{urgent}));
    CHECK(engine.top(0).empty());
    engine.set_index_weight(0);
    CHECK((engine.top(9) == Order{urgent, slow, tie, fast}));
    const double age = 95;  // 5 tokens left
    engine.set_index_weight(inf);
    engine.update_age(&slow, &age, 1);
    CHECK(engine.index(slow) == 5.0);
    CHECK((engine.top(2) == Order{urgent, slow}));
}

void handles() {
    RankEngine engine = make_engine();
    const auto first = engine.add(short_output, arriving(0));
    engine.remove(first);
    const auto second = engine.add(short_output, arriving(0));
    CHECK(engine.slots() == 1 && engine.size() == 1 && first != second);
    CHECK(first > 0 && second > 0);
    CHECK(!engine.contains(first) && engine.contains(second));
    for (const std::int64_t bad : {first, std::int64_t{0}, std::int64_t{-1}, second + 1})
        CHECK(throws_with<UnknownHandleError>(std::to_string(bad), [&] { engine.remove(bad); }));
    engine.remove(second);
    // The handle the free slot would give next has not been given out yet.
    const auto next = second + (std::int64_t{1} << 32);
    CHECK(!engine.contains(next));
    CHECK(engine.add(short_output, arriving(0)) == next);
}

void failed_calls_change_nothing() {
    RankEngine engine = make_engine();
    const auto good = engine.add(long_output, arriving(0));
    const Order both{good, 12345};
    const double ages[] = {90, 90};
    CHECK(
        throws_with<UnknownHandleError>("12345", [&] { engine.update_age(both.data(), ages, 2); }));
    CHECK(engine.index(good) == 100.0);
    const double bad_pmf[] = {1, -1};
    using Error = std::invalid_argument;
    CHECK(throws_with<Error>("pmf", [&] { engine.add(bad_pmf, arriving(0)); }));
    CHECK(throws_with<Error>("arrival", [&] { engine.add(long_output, arriving(-1)); }));
    CHECK(throws_with<Error>("arrival", [&] { engine.add(long_output, arriving(std::nan(""))); }));
    CHECK(throws_with<Error>("index_weight", [&] { engine.set_index_weight(-1); }));
    CHECK(throws_with<Error>("index_weight", [] { make_engine(std::nan("")); }));
    CHECK(engine.size() == 1 && engine.slots() == 1);
}

}  // namespace

int main() {
    order();
    handles();
    failed_calls_change_nothing();
    return failures != 0;
}
