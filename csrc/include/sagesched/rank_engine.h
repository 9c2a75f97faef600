#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "sagesched/cost_model.h"

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
};

// The requests of one scheduler, ordered by (priority, key, insertion).
//
//   key = arrival + index_weight * ln(index)   for a finite index_weight
//       = ln(index)                            for an infinite one
//
// Structure of arrays; slots are reused. A handle is (generation << 32 | slot), never negative; the
// generation grows with each reuse of a slot, so that an old handle is recognised. The index is
// evaluated when a request is added and when its age or cached prefix is set.
// Each call either does all of its work or throws and changes nothing. Not thread-safe.
class RankEngine {
  public:
    RankEngine(std::vector<double> support, const CostModel& cost, double index_weight);

    std::int64_t add(const double* pmf, const NewRequest& request);
    void remove(std::int64_t handle);
    void update_age(const std::int64_t* handles, const double* ages, std::size_t count);
    void set_cached_prefix(const std::int64_t* handles, const double* lengths, std::size_t count);
    void set_index_weight(double index_weight);

    std::vector<std::int64_t> top(std::size_t count) const;
    bool contains(std::int64_t handle) const;
    double index(std::int64_t handle) const { return index_[slot_of(handle)]; }
    double key(std::int64_t handle) const { return key_[slot_of(handle)]; }

    double index_weight() const { return index_weight_; }
    std::size_t bins() const { return support_.size(); }
    std::size_t size() const { return live_.size(); }
    std::size_t slots() const { return generation_.size(); }

  private:
    std::size_t slot_of(std::int64_t handle) const;
    std::int64_t handle_of(std::size_t slot) const;
    std::size_t take_slot();
    void grow();
    void evaluate(std::size_t slot);
    double key_for(double arrival, double index) const;
    void assign(std::vector<double>& column, const std::int64_t* handles, const double* values,
                std::size_t count);

    std::vector<double> support_;
    CostModel cost_;
    double index_weight_;
    std::uint64_t next_sequence_ = 0;

    // one entry per slot
    std::vector<double> pmf_;  // [slots][bins]
    std::vector<double> age_, prompt_len_, cached_len_, arrival_, index_, key_;
    std::vector<std::int64_t> priority_;
    std::vector<std::uint64_t> sequence_;
    std::vector<std::size_t> position_;  // in live_, or not_live
    std::vector<std::uint32_t> generation_;

    std::vector<std::size_t> live_, free_;
};

}  // namespace sagesched
