// Arrays from Python: converted without a copy where their type fits, refused where they are not
// numbers or have the wrong shape.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace py = pybind11;

constexpr int dense = py::array::c_style | py::array::forcecast;
using Doubles = py::array_t<double, dense>;
using Handles = py::array_t<std::int64_t, dense>;

// NumPy kind codes of what a caller may pass. Not strings: NumPy would read "0.5" as a number.
inline const std::string real_kinds = "iuf";
inline const std::string integer_kinds = "iu";

inline py::array numeric_array(const char* name, const py::object& object,
                               const std::string& kinds) {
    const py::array array = py::array::ensure(object);
    if (!array) throw py::type_error(std::string(name) + " is not an array of numbers");
    const bool empty = array.size() == 0;  // NumPy calls an empty list float64
    if (!empty && kinds.find(array.dtype().kind()) == std::string::npos)
        throw py::type_error(std::string(name) + " has dtype " +
                             std::string(py::str(array.dtype())) + "; expected " +
                             (kinds == integer_kinds ? "integers" : "real numbers"));
    return array;
}

// The values as int64. NumPy would wrap an uint64 beyond its range round to a negative number.
inline Handles integers(const char* name, const py::object& object) {
    const py::array array = numeric_array(name, object, integer_kinds);
    if (array.dtype().kind() == 'u' && array.dtype().itemsize() == 8) {
        const py::array_t<std::uint64_t, dense> wide(array);
        for (py::ssize_t i = 0; i < wide.size(); ++i)
            if (wide.data()[i] > INT64_MAX)
                throw py::value_error(std::string(name) + " row " + std::to_string(i) + " is " +
                                      std::to_string(wide.data()[i]) + "; it must be below 2^63");
    }
    return Handles(array);
}

[[noreturn]] inline void reject_shape(const char* name, const py::array& array,
                                      const std::string& want) {
    throw py::value_error(std::string(name) + " has shape " +
                          std::string(py::str(array.attr("shape"))) + "; expected " + want);
}

inline Doubles vector_of_doubles(const char* name, const py::object& object,
                                 py::ssize_t size = -1) {
    const py::array array = numeric_array(name, object, real_kinds);
    if (array.ndim() != 1 || (size >= 0 && array.shape(0) != size))
        reject_shape(name, array, size < 0 ? "one dimension" : "(" + std::to_string(size) + ",)");
    return Doubles(array);
}

// One value per row; a scalar is repeated.
inline Doubles per_row(const char* name, const py::object& object, py::ssize_t rows) {
    const py::array array = numeric_array(name, object, real_kinds);
    if (array.ndim() == 0) {
        Doubles repeated(rows);
        std::fill_n(repeated.mutable_data(), rows, *Doubles(array).data());
        return repeated;
    }
    if (array.ndim() != 1 || array.shape(0) != rows)
        reject_shape(name, array, "a scalar or (" + std::to_string(rows) + ",)");
    return Doubles(array);
}
