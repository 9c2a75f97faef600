// The one file that knows both Python and the core: it converts and checks types and shapes.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "sagesched/check.h"
#include "sagesched/gittins.h"
#include "sagesched/move_to_front.h"
#include "sagesched/rank_engine.h"

namespace py = pybind11;
using sagesched::CostModel;
using sagesched::RankEngine;

namespace {

constexpr int dense = py::array::c_style | py::array::forcecast;
using Doubles = py::array_t<double, dense>;
using Handles = py::array_t<std::int64_t, dense>;

// NumPy kind codes of what a caller may pass. Not strings: NumPy would read "0.5" as a number.
const std::string real_kinds = "iuf";
const std::string integer_kinds = "iu";

py::array numeric_array(const char* name, const py::object& object, const std::string& kinds) {
    const py::array array = py::array::ensure(object);
    if (!array) throw py::type_error(std::string(name) + " is not an array of numbers");
    const bool empty = array.size() == 0;  // NumPy calls an empty list float64
    if (!empty && kinds.find(array.dtype().kind()) == std::string::npos)
        throw py::type_error(std::string(name) + " has dtype " +
                             std::string(py::str(array.dtype())) + "; expected " +
                             (kinds == integer_kinds ? "integers" : "real numbers"));
    return array;
}

[[noreturn]] void reject_shape(const char* name, const py::array& array, const std::string& want) {
    throw py::value_error(std::string(name) + " has shape " +
                          std::string(py::str(array.attr("shape"))) + "; expected " + want);
}

Doubles vector_of_doubles(const char* name, const py::object& object, py::ssize_t size = -1) {
    const py::array array = numeric_array(name, object, real_kinds);
    if (array.ndim() != 1 || (size >= 0 && array.shape(0) != size))
        reject_shape(name, array, size < 0 ? "one dimension" : "(" + std::to_string(size) + ",)");
    return Doubles(array);
}

// One value per row; a scalar is repeated.
std::vector<double> per_row(const char* name, const py::object& object, py::ssize_t rows) {
    const py::array array = numeric_array(name, object, real_kinds);
    const Doubles values(array);
    const auto count = static_cast<std::size_t>(rows);
    if (array.ndim() == 0) return std::vector<double>(count, *values.data());
    if (array.ndim() != 1 || array.shape(0) != rows)
        reject_shape(name, array, "a scalar or (" + std::to_string(rows) + ",)");
    return std::vector<double>(values.data(), values.data() + count);
}

template <class T>
Doubles index_rows(const py::array& rows, const Doubles& support, const std::vector<double>& age,
                   const std::vector<double>& prompt_len, const std::vector<double>& cached_len,
                   const CostModel& cost) {
    const py::array_t<T, dense> pmf(rows);
    Doubles out(pmf.shape(0));
    const sagesched::IndexBatch<T> batch{
        pmf.data(), support.data(),    age.size(),       static_cast<std::size_t>(support.size()),
        age.data(), prompt_len.data(), cached_len.data()};
    double* const result = out.mutable_data();
    {
        // Safe without the GIL: the frame holds the arrays, and nobody else knows `out` yet.
        const py::gil_scoped_release unlocked;
        sagesched::check_cost_model(cost);
        sagesched::check_batch(batch);
        sagesched::gittins_index(batch, cost, result);
    }
    return out;
}

Doubles gittins_index(const py::object& pmf, const py::object& support, const py::object& age,
                      const py::object& prompt_len, const py::object& cached_len, double token,
                      double memory, double prefill) {
    const py::array rows = numeric_array("pmf", pmf, real_kinds);
    const Doubles edges = vector_of_doubles("support", support);
    if (rows.ndim() != 2 || rows.shape(1) != edges.size())
        reject_shape("pmf", rows,
                     "(N, " + std::to_string(edges.size()) + "), one column per support edge");
    const auto ages = per_row("age", age, rows.shape(0));
    const auto prompts = per_row("prompt_len", prompt_len, rows.shape(0));
    const auto cached = per_row("cached_len", cached_len, rows.shape(0));
    const CostModel cost{token, memory, prefill};
    const bool single = rows.dtype().equal(py::dtype::of<float>());
    return single ? index_rows<float>(rows, edges, ages, prompts, cached, cost)
                  : index_rows<double>(rows, edges, ages, prompts, cached, cost);
}

std::size_t move_to_front(const py::list& queue, const py::list& front) {
    const auto pointers = [](const py::list& list) {
        std::vector<void*> items(list.size());
        for (std::size_t i = 0; i < items.size(); ++i)
            items[i] = PyList_GET_ITEM(list.ptr(), static_cast<py::ssize_t>(i));
        return items;
    };
    std::size_t found = 0;
    const auto order = sagesched::move_to_front(pointers(queue), pointers(front), found);
    // A permutation of borrowed pointers under the GIL: no reference count changes, no Python code
    // runs, and nothing below can fail.
    for (std::size_t i = 0; i < order.size(); ++i)
        PyList_SET_ITEM(queue.ptr(), static_cast<py::ssize_t>(i), static_cast<PyObject*>(order[i]));
    return found;
}

std::int64_t add(RankEngine& engine, const py::object& pmf, double prompt_len, double arrival,
                 double age, double cached_len, std::int64_t priority) {
    const Doubles row = vector_of_doubles("pmf", pmf, static_cast<py::ssize_t>(engine.bins()));
    return engine.add(row.data(), {prompt_len, arrival, age, cached_len, priority});
}

using Assign = void (RankEngine::*)(const std::int64_t*, const double*, std::size_t);

template <Assign assign>
void assign_values(RankEngine& engine, const py::object& handles, const py::object& values) {
    const py::array raw = numeric_array("handles", handles, integer_kinds);
    if (raw.ndim() != 1) reject_shape("handles", raw, "one dimension");
    const Handles which(raw);
    const Doubles what = vector_of_doubles("values", values, which.size());
    (engine.*assign)(which.data(), what.data(), static_cast<std::size_t>(which.size()));
}

py::array_t<std::int64_t> top(const RankEngine& engine, py::ssize_t count) {
    if (count < 0) throw py::value_error("k is " + std::to_string(count) + "; it must be >= 0");
    const auto handles = engine.top(static_cast<std::size_t>(count));
    return py::array_t<std::int64_t>(static_cast<py::ssize_t>(handles.size()), handles.data());
}

RankEngine make_engine(const py::object& support, double token, double memory, double prefill,
                       double index_weight) {
    const Doubles edges = vector_of_doubles("support", support);
    return RankEngine({edges.data(), edges.data() + edges.size()}, {token, memory, prefill},
                      index_weight);
}

void bind_rank_engine(py::module_& module) {
    py::register_local_exception<sagesched::UnknownHandleError>(module, "UnknownHandleError",
                                                                PyExc_KeyError);
    // Methods keep the GIL: it is what makes an engine safe to share between threads.
    py::class_<RankEngine>(module, "RankEngine")
        .def(py::init(&make_engine), py::arg("support"), py::arg("token"), py::arg("memory"),
             py::arg("prefill"), py::arg("index_weight"))
        .def("add", &add, py::arg("pmf"), py::arg("prompt_len"), py::arg("arrival"), py::kw_only(),
             py::arg("age") = 0.0, py::arg("cached_len") = 0.0, py::arg("priority") = 0)
        .def("remove", &RankEngine::remove, py::arg("handle"))
        .def("update_age", &assign_values<&RankEngine::update_age>, py::arg("handles"),
             py::arg("ages"))
        .def("set_cached_prefix", &assign_values<&RankEngine::set_cached_prefix>,
             py::arg("handles"), py::arg("lengths"))
        .def("set_index_weight", &RankEngine::set_index_weight, py::arg("index_weight"))
        .def("top", &top, py::arg("k"))
        .def("index", &RankEngine::index, py::arg("handle"))
        .def("key", &RankEngine::key, py::arg("handle"))
        .def_property_readonly("index_weight", &RankEngine::index_weight)
        .def_property_readonly("slots", &RankEngine::slots)
        .def("__contains__", &RankEngine::contains, py::arg("handle"))
        .def("__len__", &RankEngine::size);
}

}  // namespace

PYBIND11_MODULE(_core, module) {
    module.doc() = "The compiled core of SageSched; use it through sagesched.gittins.";
    module.def("gittins_index", &gittins_index, py::arg("pmf"), py::arg("support"), py::arg("age"),
               py::arg("prompt_len"), py::arg("cached_len"), py::arg("token"), py::arg("memory"),
               py::arg("prefill"));
    module.def("move_to_front", &move_to_front, py::arg("queue"), py::arg("front"));
    bind_rank_engine(module);
}
