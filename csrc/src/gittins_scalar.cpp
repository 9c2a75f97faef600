#include "gittins_kernel.h"
#include "gittins_levels.h"

namespace sagesched::scalar {

void gittins_index(const IndexBatch<float>& batch, const CostModel& cost, double* out) {
    index_of_batch(batch, cost, out);
}

void gittins_index(const IndexBatch<double>& batch, const CostModel& cost, double* out) {
    index_of_batch(batch, cost, out);
}

}  // namespace sagesched::scalar
