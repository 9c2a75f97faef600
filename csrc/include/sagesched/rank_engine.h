#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "sagesched/cost_model.h"
#include "sagesched/pages.h"
#include "sagesched/rank_heap.h"

namespace sagesched {

// A handle that was never given out, or whose request has been removed.
struct UnknownHandleError : std::out_of_range {
    using std::out_of_range::out_of_range;
};

struct NewRequest {
    double prompt_len = 0.0;
    double arrival = 0.0;  // on the caller's clock; only differences matter
    double age = 0.0;
    double cached_len = 0.0;
    std::int64_t priority = 0;  // smaller goes first
    double lead = 0.0;          // >= 0, taken off ln(index); kept as a float
};

// The float32 masses that an engine stores, of float64 ones [rows][bins]. Throws
// std::invalid_argument that names a mass that is no mass, or more than a float32 holds.
void narrow_pmf(const double* pmf, std::size_t rows, std::size_t bins, float* out);

// What changed about `count` requests. A column that is null stays as it is. Of a handle given more
// than once the last values count.
struct Changes {
    const std::int64_t* handles = nullptr;
    std::size_t count = 0;
    const double* age = nullptr;
    const double* cached_len = nullptr;
    const double* boost = nullptr;
};

// The requests of one scheduler, ordered by (priority, key, order of admission).
//
//   key = (arrival + boost) + weight * max(low, clamp(ln(index), low, high) - scale * lead)
//                                                for a finite weight
//       = boost + clamp(ln(index), low, high)    for an infinite one
//
// The band (low, high) bounds what index and lead can do: nobody is overtaken by a request that
// arrives more than weight * (high - low) after it. The index is the float32 Gittins index of the
// float32 masses; ln is natural_log() of csrc/src, so a key has the same bits on every machine.
// boost is the caller's aging term, 0 at admission.
//
// Cost. With c changed requests of n: one call of the batched kernel for all that changed, then
// O(c log n) to keep the order; top(k) is O(k log k). Nothing is O(n).
//
// Memory. A request has a slot for as long as it is here: one row of masses, one record of a cache
// line, one node of the heap. Slots come in pages of 1024 and never move. A handle is
// (generation << 32 | slot), never negative; the generation grows with each reuse of a slot, so
// that an old handle is recognised.
//
// Re-ranking. A new weight or cost concerns everybody. Requests added or changed from then on get
// it at once; the others in slices: each top() first visits the next `slice` slots in slot order,
// round and round, and gives what it finds there the new key. A visit changes one node and sifts
// it to its place, so the heap is a heap of the current keys after every single visit, and top()
// is exact for them. What a call visits depends on the calls made so far and on nothing else:
// ranks that make the same calls see the same order at every step.
//
// Each call either does all of its work or throws and changes nothing. Not thread-safe.
class RankEngine {
  public:
    static constexpr std::size_t default_slice = 4096;

    RankEngine(std::vector<double> support, const CostModel& cost, double index_weight,
               std::size_t slice = default_slice);

    // pmf is [count][bins]; writes handles[count]. Requests are admitted in row order.
    void add_batch(const float* pmf, const NewRequest* requests, std::size_t count,
                   std::int64_t* handles);
    std::int64_t add(const float* pmf, const NewRequest& request);

    // All changes, then the removal of `gone`, which may name requests that changed.
    void update(const Changes& changes, const std::int64_t* gone = nullptr,
                std::size_t gone_count = 0);
    void remove(const std::int64_t* handles, std::size_t count) { update({}, handles, count); }
    void remove(std::int64_t handle) { remove(&handle, 1); }
    void update_age(const std::int64_t* handles, const double* ages, std::size_t count);
    void set_cached_prefix(const std::int64_t* handles, const double* lengths, std::size_t count);
    void set_boost(const std::int64_t* handles, const double* boosts, std::size_t count);

    void set_index_weight(double index_weight);
    void set_index_band(double low, double high);  // of ln(index); without limits at first
    void set_lead_scale(double scale);             // of all leads; 1 at first
    void set_cost(const CostModel& cost);

    std::size_t top(std::size_t count, std::int64_t* handles);  // writes min(count, size()) of them
    std::vector<std::int64_t> top(std::size_t count);
    int compare(std::int64_t a, std::int64_t b) const;  // -1: a goes first, 1: b, 0: the same
    bool contains(std::int64_t handle) const;
    double index(std::int64_t handle) const { return records_[slot_of(handle)].index; }
    double log_index(std::int64_t handle) const { return records_[slot_of(handle)].log_index; }
    double key(std::int64_t handle) const { return heap_.node(slot_of(handle)).key(); }

    double index_weight() const { return index_weight_; }
    std::size_t bins() const { return support_.size(); }
    std::size_t size() const { return heap_.size(); }
    std::size_t slots() const { return slots_; }  // the most requests ever held at once
    std::size_t pending() const;                  // slots the next calls of top() will visit
    std::size_t bytes_per_request() const;        // without the unused rest of a page
    std::uint64_t kernel_calls() const { return kernel_calls_; }

  private:
    // All of a slot but its masses and its place, in one cache line: a change touches all of it.
    struct alignas(64) Record {
        double age, prompt_len, cached_len, arrival, boost, log_index;
        float index, lead;
        std::uint32_t generation : 31, live : 1;
        std::uint32_t link;  // free slot: the next free one; live: scratch of refuse_repeated()
    };
    static_assert(sizeof(Record) == 64, "a record fills one cache line");

    // Columns of the rows that one call changes; kept, so that a step allocates nothing.
    struct Scratch {
        std::vector<float> pmf, index;
        std::vector<double> age, prompt_len, cached_len, log_index;
        std::vector<std::uint32_t> slots, gone;
        void resize(std::size_t rows);  // all columns but pmf; never shrinks
    };

    static std::uint32_t slot_part_of(std::int64_t handle) {
        return static_cast<std::uint32_t>(handle);
    }
    std::uint32_t slot_of(std::int64_t handle) const;
    double key_of(const Record& record) const;

    void reserve(std::size_t count);
    std::uint32_t take_slot();
    void release(std::uint32_t slot);
    std::int64_t admit(const float* pmf, const NewRequest& request, std::size_t row);

    void locate(const std::int64_t* handles, std::size_t count, std::vector<std::uint32_t>& slots);
    void refuse_repeated(const std::int64_t* handles, const std::vector<std::uint32_t>& slots);
    void gather(const Changes& changes);
    void evaluate(const float* pmf, std::size_t count);
    void commit(const Changes& changes, bool evaluated);
    void rerank_slice();
    void visit(std::size_t count, bool evaluated);

    std::vector<double> support_;
    CostModel cost_;
    double index_weight_;
    double low_ = -std::numeric_limits<double>::infinity();
    double high_ = std::numeric_limits<double>::infinity();
    double lead_scale_ = 1.0;
    std::size_t slice_;
    std::uint64_t next_sequence_ = 0;
    std::uint64_t kernel_calls_ = 0;

    Pages<float> pmf_;
    Pages<Record> records_;
    RankHeap heap_;
    std::size_t slots_ = 0, free_slots_ = 0;
    std::uint32_t first_free_ = 0;

    // Slots from cursor_ on, round and round, that still have keys of an old weight or cost.
    std::size_t cursor_ = 0, stale_keys_ = 0, stale_costs_ = 0;
    Scratch scratch_;
};

}  // namespace sagesched
