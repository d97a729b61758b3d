# SPDX-License-Identifier: Apache-2.0
"""A hostile hop on purpose: what a gateway, a hub or a network could do, done, counted and told.

It stands where carriers stand and can do no more than they: it parses what every hop may parse, has keys of its own
and none of an endpoint's. Whatever of it succeeds against an endpoint is a defect of the endpoint.
"""
