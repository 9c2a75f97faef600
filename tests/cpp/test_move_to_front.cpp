#include <algorithm>
#include <random>
#include <vector>

#include "check_that.h"
#include "sagesched/move_to_front.h"

using Items = std::vector<void*>;

namespace {

int a, b, c, d;

bool gives(Items queue, const Items& front, const Items& expected, std::size_t moved) {
    const std::size_t found =
        sagesched::move_to_front(queue.data(), queue.size(), front.data(), front.size());
    return queue == expected && found == moved;
}

// Long queues, the wanted ones anywhere in them, also in the part between head and tail.
void long_queues() {
    std::mt19937 random(3);
    std::vector<int> things(3000);
    for (int round = 0; round < 300; ++round) {
        Items queue;
        for (std::size_t i = 0; i < 1 + random() % 2500; ++i) queue.push_back(&things[i]);
        Items front, expected;
        for (std::size_t i = random() % 40; i > 0; --i) front.push_back(&things[random() % 3000]);
        const auto has = [](const Items& items, void* item) {
            return std::find(items.begin(), items.end(), item) != items.end();
        };
        for (void* item : front)
            if (has(queue, item) && !has(expected, item)) expected.push_back(item);
        const std::size_t moved = expected.size();
        for (void* item : queue)
            if (!has(front, item)) expected.push_back(item);
        CHECK(gives(queue, front, expected, moved));
    }
}

}  // namespace

int main() {
    CHECK(gives({}, {}, {}, 0));
    CHECK(gives({}, {&a}, {}, 0));
    CHECK(gives({&a, &b}, {}, {&a, &b}, 0));
    CHECK(gives({&a, &b, &c, &d}, {&d, &b}, {&d, &b, &a, &c}, 2));
    CHECK(gives({&a, &b}, {&c, &b}, {&b, &a}, 1));              // c is missing
    CHECK(gives({&a, &b}, {&b, &b, &b}, {&b, &a}, 1));          // named more than once
    CHECK(gives({&a, &b, &a, &b}, {&b}, {&b, &a, &a, &b}, 1));  // queued more than once
    long_queues();
    return failures != 0;
}
