#include "sagesched/rank_engine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <utility>

#include "sagesched/check.h"
#include "sagesched/gittins.h"

namespace sagesched {
namespace {

constexpr std::size_t not_live = std::numeric_limits<std::size_t>::max();
constexpr std::uint32_t last_generation = std::numeric_limits<std::int32_t>::max();

void check_index_weight(double value) {
    if (!(value >= 0.0))
        throw std::invalid_argument("index_weight is " + std::to_string(value) +
                                    "; it must be >= 0 (inf: order by the index alone)");
}

void check_request(const NewRequest& request) {
    check_tokens("prompt_len", request.prompt_len);
    check_tokens("age", request.age);
    check_tokens("cached_len", request.cached_len);
    if (!(request.arrival >= 0.0 && std::isfinite(request.arrival)))
        throw std::invalid_argument("arrival is " + std::to_string(request.arrival) +
                                    "; it must be finite and >= 0");
}

}  // namespace

RankEngine::RankEngine(std::vector<double> support, const CostModel& cost, double index_weight)
    : support_(std::move(support)), cost_(cost), index_weight_(index_weight) {
    check_support(support_.data(), support_.size());
    check_cost_model(cost_);
    check_index_weight(index_weight_);
}

std::int64_t RankEngine::add(const double* pmf, const NewRequest& request) {
    check_request(request);
    check_pmf(pmf, 1, bins());
    const std::size_t slot = take_slot();
    std::copy(pmf, pmf + bins(), pmf_.begin() + static_cast<std::ptrdiff_t>(slot * bins()));
    age_[slot] = request.age;
    prompt_len_[slot] = request.prompt_len;
    cached_len_[slot] = request.cached_len;
    arrival_[slot] = request.arrival;
    priority_[slot] = request.priority;
    sequence_[slot] = next_sequence_++;
    evaluate(slot);
    return handle_of(slot);
}

void RankEngine::remove(std::int64_t handle) {
    const std::size_t slot = slot_of(handle);
    const std::size_t hole = position_[slot];
    live_[hole] = live_.back();
    position_[live_[hole]] = hole;
    live_.pop_back();
    position_[slot] = not_live;
    // A slot whose generations are used up is retired: its handles must never come back.
    if (generation_[slot] < last_generation) {
        ++generation_[slot];
        free_.push_back(slot);
    }
}

void RankEngine::update_age(const std::int64_t* handles, const double* ages, std::size_t count) {
    check_tokens("age", ages, count);
    assign(age_, handles, ages, count);
}

void RankEngine::set_cached_prefix(const std::int64_t* handles, const double* lengths,
                                   std::size_t count) {
    check_tokens("cached_len", lengths, count);
    assign(cached_len_, handles, lengths, count);
}

void RankEngine::set_index_weight(double index_weight) {
    check_index_weight(index_weight);
    index_weight_ = index_weight;
    for (const std::size_t slot : live_) key_[slot] = key_for(arrival_[slot], index_[slot]);
}

std::vector<std::int64_t> RankEngine::top(std::size_t count) const {
    using Entry = std::tuple<std::int64_t, double, std::uint64_t, std::size_t>;
    std::vector<Entry> order;
    order.reserve(live_.size());
    for (const std::size_t slot : live_)
        order.emplace_back(priority_[slot], key_[slot], sequence_[slot], slot);
    count = std::min(count, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count),
                      order.end());
    std::vector<std::int64_t> handles(count);
    for (std::size_t i = 0; i < count; ++i) handles[i] = handle_of(std::get<3>(order[i]));
    return handles;
}

bool RankEngine::contains(std::int64_t handle) const {
    const auto bits = static_cast<std::uint64_t>(handle);
    const std::size_t slot = bits & 0xffffffffu;
    return slot < slots() && position_[slot] != not_live && generation_[slot] == bits >> 32;
}

std::size_t RankEngine::slot_of(std::int64_t handle) const {
    if (!contains(handle))
        throw UnknownHandleError("handle " + std::to_string(handle) +
                                 " is unknown; its request was removed or never added");
    return static_cast<std::uint64_t>(handle) & 0xffffffffu;
}

std::int64_t RankEngine::handle_of(std::size_t slot) const {
    return static_cast<std::int64_t>((std::uint64_t{generation_[slot]} << 32) | slot);
}

std::size_t RankEngine::take_slot() {
    if (free_.empty()) grow();
    const std::size_t slot = free_.back();
    free_.pop_back();
    position_[slot] = live_.size();
    live_.push_back(slot);
    return slot;
}

// generation_ is last: its size is the number of slots, so running out of memory half-way leaves
// the engine as it was.
void RankEngine::grow() {
    const std::size_t slot = slots();
    pmf_.resize((slot + 1) * bins());
    for (auto* column : {&age_, &prompt_len_, &cached_len_, &arrival_, &index_, &key_})
        column->resize(slot + 1);
    priority_.resize(slot + 1);
    sequence_.resize(slot + 1);
    position_.resize(slot + 1, not_live);
    if (generation_.capacity() == slot) {
        // Room for every slot, so that neither take_slot() nor remove() can fail.
        const std::size_t capacity = std::max<std::size_t>(64, 2 * slot);
        live_.reserve(capacity);
        free_.reserve(capacity);
        generation_.reserve(capacity);
    }
    generation_.push_back(1);  // no handle is 0
    free_.push_back(slot);
}

void RankEngine::evaluate(std::size_t slot) {
    const IndexBatch<double> row{
        pmf_.data() + slot * bins(), support_.data(),   1, bins(), &age_[slot],
        &prompt_len_[slot],          &cached_len_[slot]};
    gittins_index(row, cost_, &index_[slot]);
    key_[slot] = key_for(arrival_[slot], index_[slot]);
}

double RankEngine::key_for(double arrival, double index) const {
    if (std::isinf(index_weight_)) return std::log(index);
    return arrival + index_weight_ * std::log(index);
}

void RankEngine::assign(std::vector<double>& column, const std::int64_t* handles,
                        const double* values, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) slot_of(handles[i]);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t slot = slot_of(handles[i]);
        column[slot] = values[i];
        evaluate(slot);
    }
}

}  // namespace sagesched
