#pragma once

#include <cstddef>

namespace sagesched {

// Brings the items of `front` to the front of the queue, in place and in that order; all others
// keep their order. Items are compared by address and stand in the queue once. An item of `front`
// that is missing from the queue is skipped, one named twice moves once. Returns how many moved.
//
// Those that were at the front before, or came last, are found at once; any other costs a look at
// the rest of the queue, a comparison an item.
std::size_t move_to_front(void** queue, std::size_t size, void* const* front, std::size_t count);

}  // namespace sagesched
