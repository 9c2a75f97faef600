#include "sagesched/rank_engine.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "arrays.h"
#include "made_by_init.h"

using sagesched::RankEngine;

namespace {

using Floats = py::array_t<float, dense>;

std::size_t size_of(const py::array& array) { return static_cast<std::size_t>(array.size()); }

Handles vector_of_handles(const char* name, const py::object& object) {
    Handles handles = integers(name, object);
    if (handles.ndim() != 1) reject_shape(name, handles, "one dimension");
    return handles;
}

// NumPy's own conversion would warn of what does not fit, and go on with inf.
Floats masses(const py::array& array, std::size_t rows, std::size_t bins) {
    if (array.dtype().equal(py::dtype::of<float>())) return Floats(array);
    const Doubles wide(array);
    Floats narrow(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
    sagesched::narrow_pmf(wide.data(), rows, bins, narrow.mutable_data());
    return narrow;
}

std::int64_t add(RankEngine& engine, const py::object& pmf, double prompt_len, double arrival,
                 double age, double cached_len, std::int64_t priority, double lead) {
    const py::array row = numeric_array("pmf", pmf, real_kinds);
    if (row.ndim() != 1 || size_of(row) != engine.bins())
        reject_shape("pmf", row, "(" + std::to_string(engine.bins()) + ",)");
    const Floats mass = masses(row, 1, engine.bins());
    return engine.add(mass.data(), {prompt_len, arrival, age, cached_len, priority, lead});
}

// One integer per row; a scalar is repeated.
std::vector<std::int64_t> integer_per_row(const char* name, const py::object& object,
                                          std::size_t rows) {
    const Handles values = integers(name, object);
    if (values.ndim() == 0) return std::vector<std::int64_t>(rows, *values.data());
    if (values.ndim() != 1 || size_of(values) != rows)
        reject_shape(name, values, "a scalar or (" + std::to_string(rows) + ",)");
    return {values.data(), values.data() + rows};
}

Handles add_batch(RankEngine& engine, const py::object& pmf, const py::object& prompt_len,
                  const py::object& arrival, const py::object& age, const py::object& cached_len,
                  const py::object& priority, const py::object& lead) {
    const py::array rows = numeric_array("pmf", pmf, real_kinds);
    if (rows.ndim() != 2 || static_cast<std::size_t>(rows.shape(1)) != engine.bins())
        reject_shape("pmf", rows, "(N, " + std::to_string(engine.bins()) + ")");
    const py::ssize_t count = rows.shape(0);
    const auto size = static_cast<std::size_t>(count);
    const Floats mass = masses(rows, size, engine.bins());
    const auto prompts = per_row("prompt_len", prompt_len, count);
    const auto arrivals = per_row("arrival", arrival, count);
    const auto ages = per_row("age", age, count);
    const auto cached = per_row("cached_len", cached_len, count);
    const auto leads = per_row("lead", lead, count);
    const auto priorities = integer_per_row("priority", priority, size);
    std::vector<sagesched::NewRequest> requests(size);
    for (std::size_t i = 0; i < size; ++i)
        requests[i] = {prompts.data()[i], arrivals.data()[i], ages.data()[i],
                       cached.data()[i],  priorities[i],      leads.data()[i]};
    Handles handles(count);
    engine.add_batch(mass.data(), requests.data(), size, handles.mutable_data());
    return handles;
}

// A column of update(): borrowed from Python, or absent.
class Column {
  public:
    Column(const char* name, const py::object& object, py::ssize_t size) {
        if (!object.is_none()) values_ = vector_of_doubles(name, object, size);
    }
    const double* data() const { return values_ ? values_->data() : nullptr; }

  private:
    std::optional<Doubles> values_;
};

void update(RankEngine& engine, const py::object& handles, const py::object& age,
            const py::object& cached_len, const py::object& boost, const py::object& remove) {
    const Handles which = vector_of_handles("handles", handles);
    const Column ages("age", age, which.size());
    const Column lengths("cached_len", cached_len, which.size());
    const Column boosts("boost", boost, which.size());
    const Handles gone = remove.is_none() ? Handles(0) : vector_of_handles("remove", remove);
    engine.update({which.data(), size_of(which), ages.data(), lengths.data(), boosts.data()},
                  gone.data(), size_of(gone));
}

using Assign = void (RankEngine::*)(const std::int64_t*, const double*, std::size_t);

template <Assign assign>
void assign_values(RankEngine& engine, const py::object& handles, const py::object& values) {
    const Handles which = vector_of_handles("handles", handles);
    const Doubles what = vector_of_doubles("values", values, which.size());
    (engine.*assign)(which.data(), what.data(), size_of(which));
}

void remove(RankEngine& engine, const py::object& handles) {
    const Handles gone = integers("handles", handles);
    if (gone.ndim() > 1) reject_shape("handles", gone, "one handle or one dimension");
    engine.remove(gone.data(), size_of(gone));
}

Handles top(RankEngine& engine, py::ssize_t count) {
    if (count < 0) throw py::value_error("k is " + std::to_string(count) + "; it must be >= 0");
    const std::size_t size = std::min(static_cast<std::size_t>(count), engine.size());
    Handles handles(static_cast<py::ssize_t>(size));
    engine.top(size, handles.mutable_data());
    return handles;
}

Doubles keys(const RankEngine& engine, const py::object& handles) {
    const Handles which = vector_of_handles("handles", handles);
    Doubles found(which.size());
    for (py::ssize_t i = 0; i < which.size(); ++i)
        found.mutable_data()[i] = engine.key(which.data()[i]);
    return found;
}

RankEngine make_engine(const py::object& support, double token, double memory, double prefill,
                       double index_weight, std::size_t slice) {
    const Doubles edges = vector_of_doubles("support", support);
    return RankEngine({edges.data(), edges.data() + edges.size()}, {token, memory, prefill},
                      index_weight, slice);
}

// A sagesched.CostModel.
void set_cost(RankEngine& engine, const py::object& cost) {
    const auto coefficient = [&](const char* name) { return cost.attr(name).cast<double>(); };
    engine.set_cost({coefficient("token"), coefficient("memory"), coefficient("prefill")});
}

using EngineClass = py::class_<RankEngine>;

void bind_changes(EngineClass& engine) {
    using namespace py::literals;
    engine
        .def("add", &add, "pmf"_a, "prompt_len"_a, "arrival"_a, py::kw_only(), "age"_a = 0.0,
             "cached_len"_a = 0.0, "priority"_a = 0, "lead"_a = 0.0)
        .def("add_batch", &add_batch, "pmf"_a, "prompt_len"_a, "arrival"_a, py::kw_only(),
             "age"_a = 0.0, "cached_len"_a = 0.0, "priority"_a = 0, "lead"_a = 0.0)
        .def("update", &update, "handles"_a, py::kw_only(), "age"_a = py::none(),
             "cached_len"_a = py::none(), "boost"_a = py::none(), "remove"_a = py::none())
        .def("remove", &remove, "handles"_a)
        .def("update_age", &assign_values<&RankEngine::update_age>, "handles"_a, "ages"_a)
        .def("set_cached_prefix", &assign_values<&RankEngine::set_cached_prefix>, "handles"_a,
             "lengths"_a)
        .def("set_boost", &assign_values<&RankEngine::set_boost>, "handles"_a, "boosts"_a)
        .def("set_index_weight", &RankEngine::set_index_weight, "index_weight"_a)
        .def("set_index_band", &RankEngine::set_index_band, "low"_a, "high"_a)
        .def("set_lead_scale", &RankEngine::set_lead_scale, "scale"_a)
        .def("set_cost", &set_cost, "cost"_a);
}

void bind_questions(EngineClass& engine) {
    using namespace py::literals;
    engine.def("top", &top, "k"_a)
        .def("compare", &RankEngine::compare, "a"_a, "b"_a)
        .def("index", &RankEngine::index, "handle"_a)
        .def("log_index", &RankEngine::log_index, "handle"_a)
        .def("key", &RankEngine::key, "handle"_a)
        .def("keys", &keys, "handles"_a)
        .def_property_readonly("index_weight", &RankEngine::index_weight)
        .def_property_readonly("slots", &RankEngine::slots)
        .def_property_readonly("pending", &RankEngine::pending)
        .def_property_readonly("kernel_calls", &RankEngine::kernel_calls)
        .def_property_readonly("bytes_per_request", &RankEngine::bytes_per_request)
        .def("__contains__", &RankEngine::contains, "handle"_a)
        .def("__len__", &RankEngine::size);
}

}  // namespace

void bind_rank_engine(py::module_& module) {
    using namespace py::literals;
    py::register_local_exception<sagesched::UnknownHandleError>(module, "UnknownHandleError",
                                                                PyExc_KeyError);
    // Methods keep the GIL: it is what makes an engine safe to share between threads.
    EngineClass engine(module, "RankEngine");
    engine.def(py::init(&make_engine), "support"_a, "token"_a, "memory"_a, "prefill"_a,
               "index_weight"_a, "slice"_a);
    bind_changes(engine);
    bind_questions(engine);
}
