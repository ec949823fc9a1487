// Counts the bytes of CPU tensors, by the allocator's own reports.
#include "guard.h"

#include <algorithm>

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

namespace {

// The allocator reports to the thread's profiler, and only what was reported when it was made is reported when it is freed.
class Counter final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device device) override {
    if (device.is_cpu()) {
      now += bytes;
      peak = std::max(peak, now);
    }
  }

  bool memoryProfilingEnabled() const override { return true; }

  int64_t now = 0, peak = 0;
};

}  // namespace

extern "C" {

// From now on this thread's tensors are counted; what is returned goes to `cupola_count_end`.
char* cupola_count_begin(std::shared_ptr<Counter>** counter) {
  return guarded([&] {
    auto counts = std::make_shared<Counter>();
    c10::ThreadLocalDebugInfo::_push(c10::DebugInfoKind::PROFILER_STATE, counts);
    *counter = new std::shared_ptr<Counter>(std::move(counts));
  });
}

char* cupola_count_end(std::shared_ptr<Counter>* counter, int64_t* peak, int64_t* left) {
  return guarded([&] {
    std::unique_ptr<std::shared_ptr<Counter>> held(counter);
    *peak = (*held)->peak;
    *left = (*held)->now;
    c10::ThreadLocalDebugInfo::_pop(c10::DebugInfoKind::PROFILER_STATE);
  });
}

}  // extern "C"
