// Optimiser steps and operations over lists of tensors.
#include "guard.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_foreach_zero.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>

extern "C" {

void cupola_free(void* memory) { std::free(memory); }

char* cupola_message(const char* bytes, size_t count) {
  auto* copy = static_cast<char*>(std::malloc(count + 1));
  if (copy != nullptr) {
    std::memcpy(copy, bytes, count);
    copy[count] = '\0';
  }
  return copy;
}

struct AdamWFields {
  double lr, beta1, beta2, eps, weight_decay;
  uint64_t step;
  uint8_t amsgrad, maximize;
};

char* cupola_fused_adamw(TensorPointers params, TensorPointers grads, TensorPointers exp_avgs, TensorPointers exp_avg_sqs,
                         TensorPointers max_exp_avg_sqs, size_t count, const AdamWFields* fields) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const auto param_list = list_of(params, count);
    const auto step = at::full({}, static_cast<double>(fields->step), param_list.at(0).options().dtype(at::kFloat));
    const std::vector<at::Tensor> steps(count, step);
    at::_fused_adamw_(param_list, list_of(grads, count), list_of(exp_avgs, count), list_of(exp_avg_sqs, count),
                      list_of(max_exp_avg_sqs, fields->amsgrad ? count : 0), steps, fields->lr, fields->beta1, fields->beta2,
                      fields->weight_decay, fields->eps, fields->amsgrad, fields->maximize);
  });
}

struct SgdFields {
  double lr, momentum, dampening, weight_decay;
  uint8_t nesterov, maximize, is_first_step;
};

char* cupola_fused_sgd(TensorPointers params, TensorPointers grads, TensorPointers momentum_buffers, size_t count, const SgdFields* fields) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_fused_sgd_(list_of(params, count), list_of(grads, count), list_of(momentum_buffers, fields->momentum == 0 ? 0 : count),
                    fields->weight_decay, fields->momentum, fields->lr, fields->dampening, fields->nesterov, fields->maximize,
                    fields->is_first_step);
  });
}

char* cupola_foreach_norm(TensorPointers tensors, size_t count, uint8_t in_double, TensorPointer* norm) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const auto kind = in_double ? at::kDouble : at::kFloat;
    const auto norms = at::_foreach_norm(list_of(tensors, count), 2, kind);
    *norm = new at::Tensor(at::linalg_vector_norm(at::stack(norms), 2));
  });
}

char* cupola_foreach_scale(TensorPointers tensors, size_t count, double factor) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_foreach_mul_(list_of(tensors, count), at::Scalar(factor));
  });
}

char* cupola_foreach_scale_by(TensorPointers tensors, size_t count, TensorPointer factor) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_foreach_mul_(list_of(tensors, count), *factor);
  });
}

char* cupola_foreach_lerp(TensorPointers tensors, TensorPointers ends, size_t count, double weight) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_foreach_lerp_(list_of(tensors, count), list_of(ends, count), at::Scalar(weight));
  });
}

char* cupola_foreach_copy(TensorPointers tensors, TensorPointers sources, size_t count) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_foreach_copy_(list_of(tensors, count), list_of(sources, count));
  });
}

char* cupola_foreach_zero(TensorPointers tensors, size_t count) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_foreach_zero_(list_of(tensors, count));
  });
}

}  // extern "C"
