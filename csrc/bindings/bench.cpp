// What bench/ measures the core against; nothing else uses it.
#include <vector>

#include "arrays.h"
#include "made_by_init.h"
#include "sagesched/check.h"
#include "sagesched/curve.h"
#include "sagesched/read_floor.h"

using sagesched::IndexCurve;

namespace {

template <class T>
double sum_of(const py::array& values) {
    const auto* const data = static_cast<const T*>(values.data());
    const auto count = static_cast<std::size_t>(values.size());
    const py::gil_scoped_release unlocked;
    return static_cast<double>(sagesched::read_floor(data, count));
}

double read_floor(const py::array& values) {
    if ((values.flags() & (py::array::c_style | py::array::f_style)) == 0)
        throw py::value_error("values are not contiguous");
    if (values.dtype().equal(py::dtype::of<float>())) return sum_of<float>(values);
    if (values.dtype().equal(py::dtype::of<double>())) return sum_of<double>(values);
    throw py::type_error("values are neither float32 nor float64");
}

Doubles look_up(const py::list& curves, const py::object& age, const py::object& cached_len) {
    const auto count = static_cast<py::ssize_t>(curves.size());
    const Doubles ages = per_row("age", age, count),
                  cached = per_row("cached_len", cached_len, count);
    const auto rows = static_cast<std::size_t>(count);
    sagesched::check_tokens("age", ages.data(), rows);
    sagesched::check_tokens("cached_len", cached.data(), rows);
    std::vector<const IndexCurve*> found(rows);
    for (std::size_t i = 0; i < rows; ++i) found[i] = &curves[i].cast<const IndexCurve&>();
    Doubles index(count);
    double* const out = index.mutable_data();
    for (std::size_t i = 0; i < rows; ++i)
        out[i] = found[i]->index(ages.data()[i], cached.data()[i]).index;
    return index;
}

}  // namespace

void bind_bench(py::module_& module) {
    using namespace py::literals;
    module.def("read_floor", &read_floor, "values"_a);
    module.def("look_up", &look_up, "curves"_a, "age"_a, "cached_len"_a);
}
