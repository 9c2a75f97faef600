#include "sagesched/gittins.h"

#include "gittins_levels.h"

namespace sagesched {

template <class T>
void gittins_index(const IndexBatch<T>& batch, const CostModel& cost, double* out) {
    scalar::gittins_index(batch, cost, out);
}

template void gittins_index<float>(const IndexBatch<float>&, const CostModel&, double*);
template void gittins_index<double>(const IndexBatch<double>&, const CostModel&, double*);

}  // namespace sagesched
