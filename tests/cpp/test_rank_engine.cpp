#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <tuple>
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
const float short_output[] = {1, 0};
const float long_output[] = {0, 1};

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
    const float bad_pmf[] = {1, -1};
    using Error = std::invalid_argument;
    CHECK(throws_with<Error>("pmf", [&] { engine.add(bad_pmf, arriving(0)); }));
    CHECK(throws_with<Error>("arrival", [&] { engine.add(long_output, arriving(-1)); }));
    CHECK(throws_with<Error>("arrival", [&] { engine.add(long_output, arriving(std::nan(""))); }));
    CHECK(throws_with<Error>("index_weight", [&] { engine.set_index_weight(-1); }));
    CHECK(throws_with<Error>("index_weight", [] { make_engine(std::nan("")); }));
    const double nan = std::nan("");
    const double boosts[] = {0, nan};
    CHECK(throws_with<Error>("boost row 1",
                             [&] { engine.set_boost(Order{good, good}.data(), boosts, 2); }));
    const Order twice{good, good};
    CHECK(throws_with<UnknownHandleError>(std::to_string(good),
                                          [&] { engine.remove(twice.data(), 2); }));
    CHECK(throws_with<UnknownHandleError>("12345", [&] { engine.remove(both.data(), 2); }));
    CHECK(throws_with<Error>("float32", [&] { engine.set_cost({1e30, 0, 0}); }));
    const float rows[] = {1, 0, 1, -1};
    const NewRequest requests[2];
    std::int64_t handles[2];
    CHECK(throws_with<Error>("row 1, column 1",
                             [&] { engine.add_batch(rows, requests, 2, handles); }));
    CHECK(engine.size() == 1 && engine.slots() == 1 && engine.kernel_calls() == 1);
}

struct Expected {
    std::int64_t priority;
    std::int64_t handle;
    std::uint64_t sequence;
};

// The whole order against sorting, and each pair of neighbours against compare().
bool ordered_as_sorted(RankEngine& engine, std::vector<Expected> expected) {
    std::sort(expected.begin(), expected.end(), [&](const Expected& a, const Expected& b) {
        return std::make_tuple(a.priority, engine.key(a.handle), a.sequence) <
               std::make_tuple(b.priority, engine.key(b.handle), b.sequence);
    });
    const Order order = engine.top(expected.size() + 1);
    bool same = order.size() == expected.size();
    for (std::size_t i = 0; same && i < order.size(); ++i) {
        same = order[i] == expected[i].handle;
        if (i > 0) same = same && engine.compare(order[i - 1], order[i]) == -1;
    }
    return same;
}

// Arrivals, departures, changes and re-ranking at random; every step in order, no slot lost.
void random_steps(double index_weight) {
    RankEngine engine(edges, {1.0, 0.1, 0.5}, index_weight, 64);
    std::mt19937 random(7);
    const auto below = [&](std::uint32_t bound) { return random() % bound; };
    std::vector<Expected> alive;
    std::uint64_t added = 0;
    std::size_t most = 0;
    for (int step = 0; step < 300; ++step) {
        for (std::uint32_t i = below(40); i > 0; --i) {
            const float pmf[] = {static_cast<float>(below(3)), static_cast<float>(below(3))};
            NewRequest request = arriving(below(50), static_cast<std::int64_t>(below(3)) - 1);
            request.prompt_len = below(1000);
            request.age = below(120);
            alive.push_back({request.priority, engine.add(pmf, request), added++});
        }
        most = std::max(most, alive.size());
        Order changed, gone;
        std::vector<double> ages, boosts;
        for (const Expected& request : alive) {
            if (below(8) != 0) continue;
            changed.push_back(request.handle);
            ages.push_back(below(200));
            boosts.push_back(static_cast<double>(below(9)) - 4);
        }
        for (std::uint32_t i = below(30); i > 0 && !alive.empty(); --i) {
            std::swap(alive[below(static_cast<std::uint32_t>(alive.size()))], alive.back());
            gone.push_back(alive.back().handle);
            alive.pop_back();
        }
        if (step % 50 == 20) engine.set_index_weight(below(4));
        if (step % 50 == 35) engine.set_index_band(below(3), 3.0 + below(3));
        if (step % 50 == 40) engine.set_lead_scale(0.5 * below(4));
        if (step % 50 == 45) engine.set_cost({1.0 + below(3), 0.1, 0.5});
        engine.update({changed.data(), changed.size(), ages.data(), nullptr, boosts.data()},
                      gone.data(), gone.size());
        engine.top(0);  // a slice, so that the keys do not change between the two looks below
        if (engine.pending() == 0) CHECK(ordered_as_sorted(engine, alive));
    }
    CHECK(engine.slots() == most);
}

// Two million cycles of one slot and its neighbours: generations grow, memory does not.
void cycles() {
    RankEngine engine = make_engine(1.0);
    constexpr std::size_t batch = 1000;
    const std::vector<NewRequest> requests(batch);
    std::vector<float> pmf(2 * batch, 1.0f);
    Order handles(batch);
    for (int round = 0; round < 2000; ++round) {
        engine.add_batch(pmf.data(), requests.data(), batch, handles.data());
        engine.remove(handles.data(), batch);
    }
    CHECK(engine.slots() == batch && engine.size() == 0 && engine.kernel_calls() == 2000);
    CHECK(engine.top(5).empty());
    CHECK(!engine.contains(handles[0]));
}

// Two engines that see the same calls agree at every step of a re-ranking, and after it.
void ranks_agree() {
    RankEngine left(edges, {1.0, 0.0, 0.0}, 0.0, 7), right(edges, {1.0, 0.0, 0.0}, 0.0, 7);
    for (RankEngine* engine : {&left, &right})
        for (int i = 0; i < 100; ++i)
            engine->add(i % 3 != 0 ? short_output : long_output, arriving(i));
    for (RankEngine* engine : {&left, &right}) engine->set_index_weight(10);
    std::size_t pending = 100;
    while (pending > 0) {
        CHECK(left.pending() == pending && right.pending() == pending);
        CHECK(left.top(100) == right.top(100));
        pending -= std::min<std::size_t>(pending, 7);
    }
    CHECK(left.pending() == 0);
}

}  // namespace

int main() {
    order();
    handles();
    failed_calls_change_nothing();
    for (const double weight : {0.0, 3.0, inf}) random_steps(weight);
    cycles();
    ranks_agree();
    return failures != 0;
}
