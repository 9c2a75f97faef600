#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

namespace sagesched {

// An array of rows that grows page by page and never moves: a pointer to a row stays good, and
// growing costs the same at a million rows as at none. New rows hold no particular values.
template <class T>
class Pages {
    static_assert(std::is_trivial_v<T>, "rows are neither constructed nor destroyed");

  public:
    static constexpr std::size_t page_rows = 1024;
    static constexpr std::size_t alignment = 128;  // four heap nodes: two cache lines

    explicit Pages(std::size_t width = 1) : width_(width) {}

    // For rows of width 1.
    T& operator[](std::size_t row) { return pages_[row / page_rows][row % page_rows]; }
    const T& operator[](std::size_t row) const { return pages_[row / page_rows][row % page_rows]; }

    T* row(std::size_t row) { return pages_[row / page_rows].get() + row % page_rows * width_; }
    const T* row(std::size_t row) const {
        return pages_[row / page_rows].get() + row % page_rows * width_;
    }

    std::size_t capacity() const { return pages_.size() * page_rows; }

    // Make room for `rows` rows. Throws std::bad_alloc; the rows there are stay as they are.
    void reserve(std::size_t rows) {
        while (capacity() < rows) {
            Page page(static_cast<T*>(::operator new(page_rows * width_ * sizeof(T), align)));
            pages_.push_back(std::move(page));
        }
    }

  private:
    static constexpr std::align_val_t align{alignment};
    struct Free {
        void operator()(T* page) const { ::operator delete(page, align); }
    };
    using Page = std::unique_ptr<T[], Free>;

    std::size_t width_;
    std::vector<Page> pages_;
};

}  // namespace sagesched
