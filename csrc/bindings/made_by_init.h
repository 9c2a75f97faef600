// pybind11 gives a method that is called on an object made by __new__ alone memory that nobody has
// filled. Classes named here are refused then, with a TypeError; every file that takes one includes
// this one.
#pragma once

#include <pybind11/pybind11.h>

#include <utility>

#include "sagesched/byte_pairs.h"
#include "sagesched/curve.h"
#include "sagesched/memory_forecast.h"
#include "sagesched/rank_engine.h"

namespace pybind11::detail {

template <class T>
class MadeByInit : public type_caster_base<T> {
  public:
    bool load(handle source, bool convert) {
        return this->template load_impl<MadeByInit>(source, convert);
    }

    // Called by load_impl in place of the base's.
    void load_value(value_and_holder&& object) {
        if (!object.holder_constructed())
            throw type_error("__init__ of this object was not called");
        type_caster_base<T>::load_value(std::move(object));
    }
};

template <>
class type_caster<sagesched::BytePairs> : public MadeByInit<sagesched::BytePairs> {};

template <>
class type_caster<sagesched::IndexCurve> : public MadeByInit<sagesched::IndexCurve> {};

template <>
class type_caster<sagesched::MemoryForecast> : public MadeByInit<sagesched::MemoryForecast> {};

template <>
class type_caster<sagesched::RankEngine> : public MadeByInit<sagesched::RankEngine> {};

}  // namespace pybind11::detail
