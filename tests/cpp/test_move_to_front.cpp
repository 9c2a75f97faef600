#include "check_that.h"
#include "sagesched/move_to_front.h"

using Items = std::vector<void*>;

namespace {

int a, b, c, d;

bool gives(const Items& queue, const Items& front, const Items& expected, std::size_t moved) {
    std::size_t found = 99;
    return sagesched::move_to_front(queue, front, found) == expected && found == moved;
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
    return failures != 0;
}
