#include "model/gguf_values.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "fastplr/errors.hpp"
#include "model/printable.hpp"

namespace fastplr::gguf {

namespace {

const Array& require_array(const File& file, std::string_view key) {
    const Array* array = file.find_array(key);
    if (array == nullptr) {
        file.fail(file.has_key(key) ? "metadata " + quoted(key) + " is a single value; expected an array"
                                    : "metadata " + quoted(key) + " is missing; expected an array");
    }
    return *array;
}

/// A cursor at the first element of `array`; the file must not have changed since it was opened.
FileCursor reopen(const File& file, std::uint64_t position) {
    FileCursor cursor(file.path);
    if (cursor.size() != file.file_size) {
        file.fail("has " + std::to_string(cursor.size()) + " bytes, but had " +
                  std::to_string(file.file_size) + " when it was opened: it changed while it was read");
    }
    cursor.seek(position, "array or tensor data");
    return cursor;
}

[[noreturn]] void fail_element_type(const File& file, std::string_view key, const Array& array,
                                    const char* expected) {
    file.fail("array " + quoted(key) + " holds " + value_type_name(array.element_type) + "; expected " +
              expected);
}

const Tensor& require_tensor(const File& file, std::string_view name, ggml_type type,
                             const std::vector<std::uint64_t>* dims) {
    const Tensor* tensor = file.find_tensor(name);
    if (tensor == nullptr) file.fail("has no tensor " + quoted(name));
    if (tensor->type != type) {
        file.fail("tensor " + quoted(name) + " is of type " + ggml_type_name(tensor->type) + "; expected " +
                  ggml_type_name(type));
    }
    if (dims != nullptr && tensor->dims != *dims) {
        file.fail("tensor " + quoted(name) + " has the shape " + dims_text(tensor->dims) + "; expected " +
                  dims_text(*dims));
    }
    return *tensor;
}

template <typename T>
std::vector<T> read_tensor_numbers(const File& file, std::string_view name, ggml_type type,
                                   const std::vector<std::uint64_t>* dims) {
    static_assert(std::endian::native == std::endian::little, "the data of GGUF tensors is little-endian");
    const Tensor& tensor = require_tensor(file, name, type, dims);
    if (tensor.n_bytes > kMaxTensorReadBytes) {
        file.fail("tensor " + quoted(name) + " has " + std::to_string(tensor.n_bytes) +
                  " bytes; expected at most " + std::to_string(kMaxTensorReadBytes));
    }
    FileCursor cursor = reopen(file, tensor.offset);
    std::vector<T> numbers(static_cast<std::size_t>(tensor.n_elements));
    cursor.read(numbers.data(), tensor.n_bytes, "tensor " + quoted(name));
    return numbers;
}

}  // namespace

std::uint64_t min_value_bytes(ValueType type) {
    switch (type) {
        case ValueType::uint8:
        case ValueType::int8:
        case ValueType::boolean:
            return 1;
        case ValueType::uint16:
        case ValueType::int16:
            return 2;
        case ValueType::uint32:
        case ValueType::int32:
        case ValueType::float32:
            return 4;
        case ValueType::string:
        case ValueType::uint64:
        case ValueType::int64:
        case ValueType::float64:
            return 8;
        case ValueType::array:
            return 0;
    }
    return 0;
}

std::string value_type_name(ValueType type) {
    static constexpr const char* names[] = {"uint8",  "int8",    "uint16",  "int16",  "uint32",
                                            "int32",  "float32", "boolean", "string", "array",
                                            "uint64", "int64",   "float64"};
    const auto number = static_cast<std::uint32_t>(type);
    return number < std::size(names) ? names[number] : "type " + std::to_string(number);
}

Scalar read_scalar(FileCursor& cursor, ValueType type, std::string_view what) {
    switch (type) {
        case ValueType::uint8:
            return cursor.read_number<std::uint8_t>(what);
        case ValueType::int8:
            return cursor.read_number<std::int8_t>(what);
        case ValueType::uint16:
            return cursor.read_number<std::uint16_t>(what);
        case ValueType::int16:
            return cursor.read_number<std::int16_t>(what);
        case ValueType::uint32:
            return cursor.read_number<std::uint32_t>(what);
        case ValueType::int32:
            return cursor.read_number<std::int32_t>(what);
        case ValueType::float32:
            return cursor.read_number<float>(what);
        case ValueType::uint64:
            return cursor.read_number<std::uint64_t>(what);
        case ValueType::int64:
            return cursor.read_number<std::int64_t>(what);
        case ValueType::float64:
            return cursor.read_number<double>(what);
        case ValueType::string:
            return cursor.read_string(what);
        case ValueType::boolean: {
            const auto byte = cursor.read_number<std::uint8_t>(what);
            if (byte > 1)
                cursor.fail(std::string(what) + " is a boolean with the value " + std::to_string(byte) +
                            "; expected 0 or 1");
            return byte == 1;
        }
        case ValueType::array:
            break;
    }
    cursor.fail(std::string(what) + " is of " + value_type_name(type) + "; expected a single value");
}

void File::fail(const std::string& message) const { throw ModelError(model_file_message(path, message)); }

void File::index() {
    key_index_.clear();
    tensor_index_.clear();
    for (std::size_t i = 0; i < metadata.size(); ++i) key_index_.emplace(metadata[i].key, i);
    for (std::size_t i = 0; i < tensors.size(); ++i) tensor_index_.emplace(tensors[i].name, i);
}

const Value* File::find(std::string_view key) const {
    const auto found = key_index_.find(std::string(key));
    return found == key_index_.end() ? nullptr : &metadata[found->second].value;
}

const Scalar* File::find_scalar(std::string_view key) const {
    const Value* value = find(key);
    return value == nullptr ? nullptr : std::get_if<Scalar>(value);
}

const Array* File::find_array(std::string_view key) const {
    const Value* value = find(key);
    return value == nullptr ? nullptr : std::get_if<Array>(value);
}

bool File::has_key(std::string_view key) const { return find(key) != nullptr; }

std::optional<std::string> File::find_string(std::string_view key) const {
    const Scalar* scalar = find_scalar(key);
    if (scalar == nullptr) return std::nullopt;
    const auto* text = std::get_if<std::string>(scalar);
    return text == nullptr ? std::nullopt : std::optional<std::string>(*text);
}

std::optional<std::uint64_t> File::find_unsigned(std::string_view key) const {
    const Scalar* scalar = find_scalar(key);
    if (scalar == nullptr) return std::nullopt;
    return std::visit(
        [](const auto& value) -> std::optional<std::uint64_t> {
            using T = std::decay_t<decltype(value)>;
            if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
                if (std::cmp_greater_equal(value, 0)) return static_cast<std::uint64_t>(value);
            }
            return std::nullopt;
        },
        *scalar);
}

const Tensor* File::find_tensor(std::string_view name) const {
    const auto found = tensor_index_.find(std::string(name));
    return found == tensor_index_.end() ? nullptr : &tensors[found->second];
}

void for_each_string(const File& file, std::string_view key,
                     const std::function<void(std::uint64_t, std::string_view)>& visit) {
    const Array& array = require_array(file, key);
    if (array.element_type != ValueType::string) fail_element_type(file, key, array, "strings");
    FileCursor cursor = reopen(file, array.position);
    const std::string what = "array " + quoted(key);
    for (std::uint64_t i = 0; i < array.count; ++i) visit(i, cursor.read_string(what));
}

std::vector<std::string> read_strings(const File& file, std::string_view key) {
    std::vector<std::string> strings;
    for_each_string(file, key, [&](std::uint64_t, std::string_view text) { strings.emplace_back(text); });
    return strings;
}

std::vector<std::int64_t> read_integers(const File& file, std::string_view key) {
    const Array& array = require_array(file, key);
    if (array.element_type == ValueType::string || array.element_type == ValueType::float32 ||
        array.element_type == ValueType::float64) {
        fail_element_type(file, key, array, "integers");
    }
    FileCursor cursor = reopen(file, array.position);
    const std::string what = "array " + quoted(key);
    std::vector<std::int64_t> integers;
    integers.reserve(static_cast<std::size_t>(array.count));
    for (std::uint64_t i = 0; i < array.count; ++i) {
        const Scalar scalar = read_scalar(cursor, array.element_type, what);
        integers.push_back(std::visit(
            [&](const auto& value) -> std::int64_t {
                using T = std::decay_t<decltype(value)>;
                if constexpr (std::is_same_v<T, bool>) return value ? 1 : 0;
                if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
                    if (std::in_range<std::int64_t>(value)) return static_cast<std::int64_t>(value);
                    file.fail(what + " holds " + std::to_string(value) + " at index " + std::to_string(i) +
                              ", too large for int64");
                }
                return 0;  // not reached: strings and floats were refused above
            },
            scalar));
    }
    return integers;
}

std::vector<double> read_doubles(const File& file, std::string_view key) {
    const Array& array = require_array(file, key);
    if (array.element_type == ValueType::string) fail_element_type(file, key, array, "numbers");
    FileCursor cursor = reopen(file, array.position);
    const std::string what = "array " + quoted(key);
    std::vector<double> numbers;
    numbers.reserve(static_cast<std::size_t>(array.count));
    for (std::uint64_t i = 0; i < array.count; ++i) {
        numbers.push_back(std::visit(
            [](const auto& value) -> double {
                if constexpr (std::is_arithmetic_v<std::decay_t<decltype(value)>>)
                    return static_cast<double>(value);
                return 0.0;  // not reached: strings were refused above
            },
            read_scalar(cursor, array.element_type, what)));
    }
    return numbers;
}

std::vector<std::byte> read_tensor_bytes(const File& file, std::string_view name, std::uint64_t max_bytes) {
    const Tensor* tensor = file.find_tensor(name);
    if (tensor == nullptr) file.fail("has no tensor " + quoted(name));
    if (tensor->n_bytes > max_bytes) {
        file.fail("tensor " + quoted(name) + " has " + std::to_string(tensor->n_bytes) +
                  " bytes; expected at most " + std::to_string(max_bytes));
    }
    FileCursor cursor = reopen(file, tensor->offset);
    std::vector<std::byte> bytes(static_cast<std::size_t>(tensor->n_bytes));
    cursor.read(bytes.data(), tensor->n_bytes, "tensor " + quoted(name));
    return bytes;
}

std::vector<double> read_tensor_f64(const File& file, std::string_view name,
                                    const std::vector<std::uint64_t>* dims) {
    return read_tensor_numbers<double>(file, name, GGML_TYPE_F64, dims);
}

std::vector<float> read_tensor_f32(const File& file, std::string_view name,
                                   const std::vector<std::uint64_t>* dims) {
    return read_tensor_numbers<float>(file, name, GGML_TYPE_F32, dims);
}

std::vector<std::int32_t> read_tensor_i32(const File& file, std::string_view name,
                                          const std::vector<std::uint64_t>* dims) {
    return read_tensor_numbers<std::int32_t>(file, name, GGML_TYPE_I32, dims);
}

}  // namespace fastplr::gguf
