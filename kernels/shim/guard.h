// What every function of the shim stands on: no exception leaves it. A function returns null, or its error as a C string that the caller
// frees with `cupola_free`.
#pragma once

#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

using TensorPointer = at::Tensor*;
using TensorPointers = at::Tensor* const*;

inline char* message_of(const char* text) {
  const size_t bytes = std::strlen(text) + 1;
  auto* copy = static_cast<char*>(std::malloc(bytes));
  if (copy != nullptr) {
    std::memcpy(copy, text, bytes);
  }
  return copy;
}

template <typename Body>
char* guarded(Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    return message_of(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return message_of(error.what());
  } catch (...) {
    return message_of("an exception that is no std::exception");
  }
}

// A list of borrowed tensors; null is an undefined tensor.
inline std::vector<at::Tensor> list_of(TensorPointers tensors, size_t count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    list.push_back(tensors[i] == nullptr ? at::Tensor() : *tensors[i]);
  }
  return list;
}

// The error of a callback, which is null or belongs to the shim, as an exception.
inline void raise(char* error) {
  if (error != nullptr) {
    std::string text(error);
    std::free(error);
    throw std::runtime_error(text);
  }
}
