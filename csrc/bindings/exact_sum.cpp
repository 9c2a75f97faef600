#include "sagesched/exact_sum.h"

#include "arrays.h"

namespace {

std::size_t size_of(const Doubles& values) { return static_cast<std::size_t>(values.size()); }

double exact_sum(const Doubles& values) {
    if (values.ndim() != 1) reject_shape("values", values, "one dimension");
    return sagesched::exact_sum(values.data(), size_of(values));
}

double exact_dot(const Doubles& a, const Doubles& b) {
    if (a.ndim() != 1) reject_shape("a", a, "one dimension");
    if (b.ndim() != 1 || b.size() != a.size())
        reject_shape("b", b, "(" + std::to_string(a.size()) + ",)");
    return sagesched::exact_dot(a.data(), b.data(), size_of(a));
}

// NumPy would read True as 1.0 and "0.5" as a number.
py::object plain_numbers(const py::object& values) {
    const auto items = py::reinterpret_steal<py::object>(
        PySequence_Fast(values.ptr(), "expected a list or a tuple"));
    if (!items) throw py::error_already_set();
    const py::ssize_t count = PySequence_Fast_GET_SIZE(items.ptr());
    Doubles numbers(count);
    double* const out = numbers.mutable_data();
    for (py::ssize_t i = 0; i < count; ++i) {
        PyObject* const item = PySequence_Fast_GET_ITEM(items.ptr(), i);
        if (PyFloat_CheckExact(item)) {
            out[i] = PyFloat_AS_DOUBLE(item);
        } else if (PyLong_CheckExact(item)) {
            out[i] = PyLong_AsDouble(item);
            if (out[i] == -1.0 && PyErr_Occurred()) throw py::error_already_set();
        } else {
            return py::none();
        }
    }
    return std::move(numbers);
}

}  // namespace

void bind_exact_sum(py::module_& module) {
    module.def("exact_sum", &exact_sum, py::arg("values").noconvert());
    module.def("exact_dot", &exact_dot, py::arg("a").noconvert(), py::arg("b").noconvert());
    module.def("plain_numbers", &plain_numbers, py::arg("values"));
}
