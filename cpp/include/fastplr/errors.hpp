// The exceptions that fastplr throws. Every public function documents which of these it may throw; nothing
// else escapes, except std::bad_alloc where memory for results runs out.
#pragma once

#include <stdexcept>
#include <string>

namespace fastplr {

/// Base of all errors of this library. The message names the offending value and what was expected.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// An argument or a text that cannot be used: wrong shape, wrong range, empty text, NaN, one class only.
class InputError : public Error {
  public:
    using Error::Error;
};

/// A model file that is missing, is no GGUF file, is damaged, or cannot be loaded.
class ModelError : public Error {
  public:
    using Error::Error;
};

/// A sound model file whose architecture has no hidden states that fastplr can reach.
class UnsupportedArchitecture : public ModelError {
  public:
    using ModelError::ModelError;
};

/// Memory for the weights of a model cannot be had; the message says how much they take.
class ModelMemoryError : public ModelError {
  public:
    using ModelError::ModelError;
};

/// A classifier file that is missing, damaged, cut short, or from a newer version.
class ClassifierFileError : public Error {
  public:
    using Error::Error;
};

/// A classifier that was trained on another model than the one offered.
class ModelMismatch : public Error {
  public:
    using Error::Error;
};

/// Memory for computing ran out: the context (KV cache and compute buffers) could not be allocated, or what a
/// batch needs beside it. The message says the size asked for. The embedder can be used again, for less.
class ContextMemoryError : public Error {
  public:
    using Error::Error;
};

}  // namespace fastplr
