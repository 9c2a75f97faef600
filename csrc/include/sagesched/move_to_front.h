#pragma once

#include <cstddef>
#include <vector>

namespace sagesched {

// The queue with the items of `front` first, in the order of `front`; all others keep their order.
// Items are compared by address. An item of `front` that is missing from the queue is skipped, one
// named twice moves once; of an item that stands in the queue more than once the first one moves.
// O(queue + front). `found` is the number of items moved.
std::vector<void*> move_to_front(const std::vector<void*>& queue, const std::vector<void*>& front,
                                 std::size_t& found);

}  // namespace sagesched
