#include "sagesched/move_to_front.h"

#include <unordered_map>

namespace sagesched {

std::vector<void*> move_to_front(const std::vector<void*>& queue, const std::vector<void*>& front,
                                 std::size_t& found) {
    std::unordered_map<void*, bool> in_queue;  // wanted item -> seen in the queue
    in_queue.reserve(front.size());
    for (void* item : front) in_queue.emplace(item, false);

    std::vector<void*> others;
    others.reserve(queue.size());
    for (void* item : queue) {
        const auto wanted = in_queue.find(item);
        if (wanted == in_queue.end() || wanted->second)
            others.push_back(item);
        else
            wanted->second = true;
    }

    std::vector<void*> result;
    result.reserve(queue.size());
    for (void* item : front) {
        const auto wanted = in_queue.find(item);
        if (wanted == in_queue.end() || !wanted->second) continue;
        result.push_back(item);
        in_queue.erase(wanted);
    }
    found = result.size();
    result.insert(result.end(), others.begin(), others.end());
    return result;
}

}  // namespace sagesched
