// This folder alone knows both Python and the core: it converts and checks types and shapes.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "arrays.h"
#include "made_by_init.h"
#include "sagesched/check.h"
#include "sagesched/curve.h"
#include "sagesched/gittins.h"
#include "sagesched/move_to_front.h"
#include "sagesched/simd_level.h"

using sagesched::CostModel;
using sagesched::IndexCurve;

void bind_bench(py::module_& module);            // bench.cpp
void bind_byte_pairs(py::module_& module);       // byte_pairs.cpp
void bind_exact_sum(py::module_& module);        // exact_sum.cpp
void bind_length_law(py::module_& module);       // length_law.cpp
void bind_memory_forecast(py::module_& module);  // memory_forecast.cpp
void bind_nearest(py::module_& module);          // nearest.cpp
void bind_rank_engine(py::module_& module);      // rank_engine.cpp
void bind_weigh(py::module_& module);            // weigh.cpp

namespace {

// The matrices of a call, both stored by row (C order) or both by column (Fortran order): without
// a copy where they are as NumPy has them.
template <class T, int order>
struct Matrices {
    using Array = py::array_t<T, order | py::array::forcecast>;
    Array pmf;
    Array own_support;  // empty where all rows share a support
    Doubles support;

    Matrices(const py::array& rows, const py::array& edges) : pmf(rows) {
        if (edges.ndim() == 2)
            own_support = Array(edges);
        else
            support = Doubles(edges);
    }
};

struct Requests {
    Doubles age, prompt_len, cached_len;
    CostModel cost;
    std::size_t threads;
    bool want_stop;
};

template <class T, int order>
py::object index_rows(const py::array& rows, const py::array& edges, const Requests& requests) {
    const Matrices<T, order> matrices(rows, edges);
    py::array_t<T> out(rows.shape(0));
    py::array_t<T> stop(requests.want_stop ? rows.shape(0) : 0);
    const bool own = edges.ndim() == 2;
    const sagesched::IndexBatch<T> batch{matrices.pmf.data(),
                                         own ? nullptr : matrices.support.data(),
                                         static_cast<std::size_t>(rows.shape(0)),
                                         static_cast<std::size_t>(rows.shape(1)),
                                         requests.age.data(),
                                         requests.prompt_len.data(),
                                         requests.cached_len.data(),
                                         own ? matrices.own_support.data() : nullptr,
                                         order == py::array::f_style};
    T* const index = out.mutable_data();
    T* const edge = requests.want_stop ? stop.mutable_data() : nullptr;
    {
        // Safe without the GIL: the frame holds the arrays, and nobody else knows the results yet.
        const py::gil_scoped_release unlocked;
        sagesched::gittins_index(batch, requests.cost, index, edge, requests.threads);
    }
    if (requests.want_stop) return py::make_tuple(out, stop);
    return out;
}

py::array support_of(const py::object& support, const py::array& rows) {
    const py::array edges = numeric_array("support", support, real_kinds);
    if (edges.ndim() != 1 && edges.ndim() != 2)
        reject_shape("support", edges, "(m,), or (N, m) for a support per row");
    const py::ssize_t bins = edges.shape(edges.ndim() - 1);
    if (rows.ndim() != 2 || rows.shape(1) != bins)
        reject_shape("pmf", rows, "(N, " + std::to_string(bins) + "), one column per support edge");
    if (edges.ndim() == 2 && edges.shape(0) != rows.shape(0))
        reject_shape("support", edges,
                     "(" + std::to_string(bins) + ",), or (" + std::to_string(rows.shape(0)) +
                         ", " + std::to_string(bins) + ") like pmf");
    return edges;
}

py::object gittins_index(const py::object& pmf, const py::object& support, const py::object& age,
                         const py::object& prompt_len, const py::object& cached_len, double token,
                         double memory, double prefill, py::ssize_t threads, bool want_stop) {
    const py::array rows = numeric_array("pmf", pmf, real_kinds);
    const py::array edges = support_of(support, rows);
    if (threads < 1)
        throw py::value_error("threads is " + std::to_string(threads) + "; it must be at least 1");
    const Requests requests{per_row("age", age, rows.shape(0)),
                            per_row("prompt_len", prompt_len, rows.shape(0)),
                            per_row("cached_len", cached_len, rows.shape(0)),
                            {token, memory, prefill},
                            static_cast<std::size_t>(threads),
                            want_stop};
    const bool by_column =
        (rows.flags() & py::array::f_style) != 0 && (rows.flags() & py::array::c_style) == 0;
    const auto run = [&](auto type) {
        using T = decltype(type);
        return by_column ? index_rows<T, py::array::f_style>(rows, edges, requests)
                         : index_rows<T, py::array::c_style>(rows, edges, requests);
    };
    return rows.dtype().equal(py::dtype::of<float>()) ? run(float()) : run(double());
}

std::vector<double> edges_of(const py::object& support) {
    const Doubles edges = vector_of_doubles("support", support);
    return {edges.data(), edges.data() + edges.size()};
}

Doubles gittins_curve(const py::object& pmf, const py::object& support,
                      const py::object& prompt_len, const py::object& cached_len, double token,
                      double memory, double prefill) {
    IndexCurve curve(edges_of(support), {token, memory, prefill});
    const py::array given = numeric_array("pmf", pmf, real_kinds);
    const auto bins = static_cast<py::ssize_t>(curve.bins());
    if (given.ndim() != 2 || given.shape(1) != bins)
        reject_shape("pmf", given, "(N, " + std::to_string(bins) + "), one column per edge");
    const Doubles rows(given);
    const auto prompts = per_row("prompt_len", prompt_len, rows.shape(0));
    const auto cached = per_row("cached_len", cached_len, rows.shape(0));
    Doubles out({rows.shape(0), bins + 1});
    double* const result = out.mutable_data();
    const double* const masses = rows.data();
    const auto count = static_cast<std::size_t>(rows.shape(0));
    const double *const prompt = prompts.data(), *const in_cache = cached.data();
    {
        const py::gil_scoped_release unlocked;
        sagesched::check_tokens("prompt_len", prompt, count);
        sagesched::check_tokens("cached_len", in_cache, count);
        sagesched::check_pmf(masses, count, curve.bins());
        for (std::size_t row = 0; row < count; ++row) {
            curve.assign(masses + row * curve.bins(), prompt[row]);
            curve.all_ages(in_cache[row], result + row * (curve.bins() + 1));
        }
    }
    return out;
}

IndexCurve make_curve(const py::object& pmf, const py::object& support, double prompt_len,
                      double token, double memory, double prefill) {
    IndexCurve curve(edges_of(support), {token, memory, prefill});
    const Doubles row = vector_of_doubles("pmf", pmf, static_cast<py::ssize_t>(curve.bins()));
    curve.assign(row.data(), prompt_len);
    return curve;
}

py::tuple curve_index(const IndexCurve& curve, const py::object& age,
                      const py::object& cached_len) {
    const Doubles ages = vector_of_doubles("age", age);
    const auto cached = per_row("cached_len", cached_len, ages.size());
    Doubles index(ages.size()), stop(ages.size());
    const auto count = static_cast<std::size_t>(ages.size());
    sagesched::check_tokens("age", ages.data(), count);
    sagesched::check_tokens("cached_len", cached.data(), count);
    for (py::ssize_t i = 0; i < ages.size(); ++i) {
        const auto answer = curve.index(ages.at(i), cached.at(i));
        index.mutable_at(i) = answer.index;
        stop.mutable_at(i) = answer.stop;
    }
    return py::make_tuple(index, stop);
}

void bind_curve(py::module_& module) {
    module.def("gittins_curve", &gittins_curve, py::arg("pmf"), py::arg("support"),
               py::arg("prompt_len"), py::arg("cached_len"), py::arg("token"), py::arg("memory"),
               py::arg("prefill"));
    py::class_<IndexCurve>(module, "IndexCurve")
        .def(py::init(&make_curve), py::arg("pmf"), py::arg("support"), py::arg("prompt_len"),
             py::arg("token"), py::arg("memory"), py::arg("prefill"))
        .def("index", &curve_index, py::arg("age"), py::arg("cached_len") = 0);
}

// A permutation of the list's own references under the GIL: no count changes, no Python code runs.
std::size_t move_to_front(const py::list& queue, const py::list& front) {
    const auto items = [](const py::list& list) {
        return reinterpret_cast<void**>(PySequence_Fast_ITEMS(list.ptr()));
    };
    const std::vector<void*> wanted(items(front), items(front) + front.size());
    return sagesched::move_to_front(items(queue), queue.size(), wanted.data(), wanted.size());
}

}  // namespace

PYBIND11_MODULE(_core, module) {
    module.doc() = "The compiled core of SageSched; use it through sagesched.gittins.";
    module.def("gittins_index", &gittins_index, py::arg("pmf"), py::arg("support"), py::arg("age"),
               py::arg("prompt_len"), py::arg("cached_len"), py::arg("token"), py::arg("memory"),
               py::arg("prefill"), py::arg("threads"), py::arg("want_stop"));
    module.def("simd_level", &sagesched::simd_level);
    module.def("simd_levels", &sagesched::simd_levels);
    module.def("set_simd_level", &sagesched::set_simd_level, py::arg("name"));
    module.def("move_to_front", &move_to_front, py::arg("queue"), py::arg("front"));
    bind_curve(module);
    bind_byte_pairs(module);
    bind_exact_sum(module);
    bind_length_law(module);
    bind_memory_forecast(module);
    bind_nearest(module);
    bind_rank_engine(module);
    bind_weigh(module);
    bind_bench(module);
}
