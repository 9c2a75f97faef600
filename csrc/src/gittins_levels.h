// What each instruction-set file defines; gittins.cpp chooses among them.
#pragma once

#include "sagesched/gittins.h"

namespace sagesched::scalar {

void gittins_index(const IndexBatch<float>& batch, const CostModel& cost, double* out);
void gittins_index(const IndexBatch<double>& batch, const CostModel& cost, double* out);

}  // namespace sagesched::scalar
