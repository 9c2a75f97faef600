#include "sagesched/move_to_front.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace sagesched {
namespace {

// Addresses of the wanted items in a table of at least four times their number, so that most looks
// meet an empty place.
class Wanted {
  public:
    Wanted(void* const* items, std::size_t count) {
        while ((std::size_t{1} << bits_) < 4 * count) ++bits_;
        places_.resize(std::size_t{1} << bits_);
        for (std::size_t i = 0; i < count; ++i) {
            void*& place = places_[find(items[i])];
            left_ += place == nullptr;
            place = items[i];
        }
    }

    std::size_t left() const { return left_; }

    // Whether the item is wanted and was not taken before.
    bool take(void* item) {
        void*& place = places_[find(item)];
        if (place != item) return false;
        // Its place stays taken, so that items behind it are found; the mark is one no address has.
        place = taken();
        --left_;
        return true;
    }

  private:
    static void* taken() { return reinterpret_cast<void*>(std::uintptr_t{1}); }

    std::size_t find(void* item) const {
        constexpr std::uint64_t golden = 0x9e3779b97f4a7c15;
        const auto address = reinterpret_cast<std::uintptr_t>(item);
        std::size_t place = (address * golden) >> (64 - bits_);
        while (places_[place] != nullptr && places_[place] != item)
            place = (place + 1) & (places_.size() - 1);
        return place;
    }

    unsigned bits_ = 3;
    std::vector<void*> places_;
    std::size_t left_ = 0;
};

}  // namespace

std::size_t move_to_front(void** queue, std::size_t size, void* const* front, std::size_t count) {
    Wanted wanted(front, count);
    const std::size_t head = std::min(size, 2 * count + 64);
    std::vector<std::size_t> found;  // places in the queue
    found.reserve(count);
    for (std::size_t i = 0; i < head && wanted.left() > 0; ++i)
        if (wanted.take(queue[i])) found.push_back(i);
    std::size_t tail = found.size();
    for (std::size_t i = size; i > head && wanted.left() > 0; --i)
        if (wanted.take(queue[i - 1])) found.push_back(i - 1);
    std::reverse(found.begin() + static_cast<std::ptrdiff_t>(tail), found.end());

    // Who is in the queue, in the order of `front`.
    std::vector<void*> moved(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) moved[i] = queue[found[i]];
    Wanted here(moved.data(), moved.size());
    std::size_t placed = 0;
    for (std::size_t i = 0; i < count && placed < found.size(); ++i)
        if (here.take(front[i])) moved[placed++] = front[i];

    // The gaps are closed from the last one on, then the front is filled.
    std::size_t end = found.empty() ? 0 : found.back() + 1;
    for (std::size_t i = found.size(); i-- > 0;) {
        const std::size_t begin = i == 0 ? 0 : found[i - 1] + 1;
        const std::size_t length = found[i] - begin;
        std::memmove(queue + end - length, queue + begin, length * sizeof(void*));
        end -= length;
    }
    std::copy(moved.begin(), moved.end(), queue);
    return found.size();
}

}  // namespace sagesched
